// Read six words, as leaf_1.s reads one.  Results: {a:q} to {c:q}, two words each.
ldar {mark}, [{cell}]
ldp {a:q}, {b:q}, [{mark}]
55:
ldur {c:q}, [{mark}, 32]
52:
