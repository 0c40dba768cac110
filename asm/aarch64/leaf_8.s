// Read eight words, as leaf_1.s reads one.  Results: {a} to {h}.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
ldp {a}, {b}, [{mark}]
ldp {c}, {d}, [{mark}, 16]
ldp {e}, {f}, [{mark}, 32]
ldr {g}, [{mark}, 48]
55:
ldur {h}, [{mark}, 56]
52:
