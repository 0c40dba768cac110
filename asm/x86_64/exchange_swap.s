// Store {new} to the word at offset {at} of this CPU's part, and give back what was there: {old}.
// {mark} = 0 if it was not to be had: {place} is closed, or someone has stopped this part, as its
// first word says.  {place}: as for part_add.  The first word is read inside, and before the other:
// loads are not reordered on this architecture.  A plain store releases.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
cmp qword ptr [{mark}], 0
jne 53f
mov {old}, qword ptr [{mark} + {at}]
55:
mov qword ptr [{mark} + {at}], {new}
52:
