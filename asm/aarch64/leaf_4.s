// Read four words, as leaf_1.s reads one.  Results: {a:q} to {b:q}, two words each.
ldar {mark}, [{cell}]
ldr {a:q}, [{mark}]
55:
ldur {b:q}, [{mark}, 16]
52:
