// Read six words, as leaf_1.s reads one.  Results: {a} to {f}.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
ldp {a}, {b}, [{mark}]
ldp {c}, {d}, [{mark}, 16]
ldr {e}, [{mark}, 32]
55:
ldur {f}, [{mark}, 40]
52:
