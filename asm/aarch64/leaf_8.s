// Read eight words, as leaf_1.s reads one.  Results: {a:q} to {d:q}, two words each.
ldar {mark}, [{cell}]
ldp {a:q}, {b:q}, [{mark}]
ldr {c:q}, [{mark}, 32]
55:
ldur {d:q}, [{mark}, 48]
52:
