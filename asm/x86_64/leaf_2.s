// Read two words, as leaf_1.s reads one.  Results: {a}, {b}.
mov {mark}, qword ptr [{cell}]
mov {a}, qword ptr [{mark}]
55:
mov {b}, qword ptr ds:[{mark} + 8]
52:
