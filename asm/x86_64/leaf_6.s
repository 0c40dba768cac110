// Read six words, as leaf_1.s reads one.  Results: {a}, {b}, {c}, two words each.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
55:
movups {c}, xmmword ptr ds:[{mark} + 32]
52:
