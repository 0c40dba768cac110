// Read two words, as leaf_1.s reads one.  Results: {a}, {b}.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
ldr {a}, [{mark}]
55:
ldur {b}, [{mark}, 8]
52:
