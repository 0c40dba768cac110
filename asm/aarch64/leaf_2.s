// Read two words, as leaf_1.s reads one.  Results: {a}, {b}.
ldar {mark}, [{cell}]
ldr {a}, [{mark}]
55:
ldur {b}, [{mark}, 8]
52:
