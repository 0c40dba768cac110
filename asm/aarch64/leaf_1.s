// Read the word at the address in {cell}.  Results: {mark}, the address; {a}.
// The thread is known to be registered, and there is something to be read wherever the address is.
// The first load acquires, for what comes behind the section: it may follow pointers that it read.
// Nothing is stored. The section ends behind its last load, which `ldur` tells.
ldar {mark}, [{cell}]
55:
ldur {a}, [{mark}]
52:
