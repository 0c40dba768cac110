// Put {item} behind the last one of this CPU's array, if {place} is open, nobody has stopped this
// part and there are fewer than {limit}.  {place}: as for part_add. A part: how many have stopped
// it, how many items there are, two words, the items. Behind the last one an array says nothing: an
// explicit segment tells the checker such a store.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
cmp qword ptr [{mark}], 0
jne 53f
mov {x}, qword ptr [{mark} + 8]
cmp {x}, {limit}
jae 53f
mov qword ptr ds:[{mark} + {x}*8 + 32], {item}
55:
inc qword ptr [{mark} + 8]
52:
