// Put {node} on top of this CPU's list, if {place} is open and nobody has stopped this part.
// {place}: as for part_add.  A part: a word that says which list is in use, 0 or 1, or more if
// it is stopped; then the tops of both.  The word is read inside: who changes it and sends a
// broadcast then has the list that is not in use, or both, for himself.
// Whoever reads a word must find what was changed before it was stored: the address of the list
// depends on it, and such a dependency orders loads.
// The node is the caller's until the commit: `stur` tells the checker such a store.
ldr {mark}, [{place}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 16
ldr {y}, [{mark}]
cmp {y}, 1
b.hi 53f
add {mark}, {mark}, {y}, lsl 3
ldr {x}, [{mark}, 8]
stur {x}, [{node}]
55:
str {node}, [{mark}, 8]
52:
