// Read six words, as leaf_1.s reads one.  Results: {a} to {c}, two words each.
mov {mark}, qword ptr [{cell}]
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
55:
movups {c}, xmmword ptr ds:[{mark} + 32]
52:
