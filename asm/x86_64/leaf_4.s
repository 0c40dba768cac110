// Read four words, as leaf_1.s reads one.  Results: {a}, {b}, two words each.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
movups {a}, xmmword ptr [{mark}]
55:
movups {b}, xmmword ptr ds:[{mark} + 16]
52:
