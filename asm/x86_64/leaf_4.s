// Read four words, as leaf_1.s reads one.  Results: {a} to {b}, two words each.
mov {mark}, qword ptr [{cell}]
movups {a}, xmmword ptr [{mark}]
55:
movups {b}, xmmword ptr ds:[{mark} + 16]
52:
