// Read eight words, as leaf_1.s reads one.  Results: {a}, {b}, {c}, {d}, two words each.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
movups {c}, xmmword ptr [{mark} + 32]
55:
movups {d}, xmmword ptr ds:[{mark} + 48]
52:
