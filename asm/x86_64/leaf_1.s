// Read the word at the address in {cell}.  Results: {mark}, the address; {a}.
// The thread is known to be registered, and there is something to be read wherever the address is.
// Nothing is stored. The section ends behind its last load, which an explicit segment tells.
mov {mark}, qword ptr [{cell}]
55:
mov {a}, qword ptr ds:[{mark}]
52:
