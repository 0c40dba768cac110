// Add {n} to the word at offset {at} of this CPU's part, if {place} is open.
// {place}: part of CPU 0, then the u32 bound.  The bound is read before the pointer: it was published
// after it, and loads are not reordered on this architecture.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
55:
add qword ptr [{mark} + {at}], {n}
52:
