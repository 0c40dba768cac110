// Read two words, as leaf_1.s reads one.  Results: {a}, {b}.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
mov {a}, qword ptr [{mark}]
55:
mov {b}, qword ptr ds:[{mark} + 8]
52:
