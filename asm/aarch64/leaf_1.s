// Read the word at the address in {cell}.  Results: {mark}, the address; {a}.
// The address is negative if only those with a guard may read there, and so is the CPU number of a
// thread that is not registered: one test for both.
// The first load acquires, for what comes behind the section: it may follow pointers that it read.
// Nothing is stored. The section ends behind its last load, which `ldur` tells.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
55:
ldur {a}, [{mark}]
52:
