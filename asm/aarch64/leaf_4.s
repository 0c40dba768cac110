// Read four words, as leaf_1.s reads one.  Results: {a} to {d}.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
ldp {a}, {b}, [{mark}]
ldr {c}, [{mark}, 16]
55:
ldur {d}, [{mark}, 24]
52:
