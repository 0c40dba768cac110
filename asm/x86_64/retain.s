// Add one to the word at the address in {cell}, atomically: others count there too.  Result:
// {mark},
// the address.  It is negative where nobody may count, and so is the CPU number of a thread that is
// not registered: one test for both.
// The one locked instruction is the commit.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
55:
lock inc qword ptr [{mark}]
52:
