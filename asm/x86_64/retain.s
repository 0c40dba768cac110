// Add one to the word at the address in {cell}, atomically: others count there too.  Result: {mark},
// the address.  Which addresses are turned away: as in leaf_1.s.
// The one locked instruction is the commit.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
55:
lock inc qword ptr [{mark}]
52:
