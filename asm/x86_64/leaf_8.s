// Read eight words, as leaf_1.s reads one.  Results: {a} to {d}, two words each.
mov {mark}, qword ptr [{cell}]
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
movups {c}, xmmword ptr [{mark} + 32]
55:
movups {d}, xmmword ptr ds:[{mark} + 48]
52:
