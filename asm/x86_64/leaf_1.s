// Read the word at the address in {cell}.  Results: {mark}, the address; {a}.
// The address is negative if only those with a guard may read there, and so is the CPU number of a
// thread that is not registered: one test for both.
// Nothing is stored. The section ends behind its last load, which an explicit segment tells.
movsxd {x}, dword ptr fs:[{o} + 4]
mov {mark}, qword ptr [{cell}]
or {x}, {mark}
js 53f
55:
mov {a}, qword ptr ds:[{mark}]
52:
