// Put {node} on top of this CPU's list, if {place} is open and nobody has stopped this part.
// {place}: as for part_add.  A part: a word that says which list is in use, 0 or 1, or more if
// it is stopped; then the tops of both.  The word is read inside: who changes it and sends a
// broadcast then has the list that is not in use, or both, for himself.
// The node is the caller's until the commit: an explicit segment tells the checker such a store.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
mov {x}, qword ptr [{mark}]
cmp {x}, 1
ja 53f
lea {mark}, [{mark} + {x}*8]
mov {x}, qword ptr [{mark} + 8]
mov qword ptr ds:[{node}], {x}
55:
mov qword ptr [{mark} + 8], {node}
52:
