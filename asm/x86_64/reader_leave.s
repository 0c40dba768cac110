// Count this CPU's `left` word in the phase {mark} of CPU 0's line, wherever it was entered.
// A plain store releases on this architecture.  {gate}: as for reader_enter.
mov {x:e}, dword ptr fs:[{o} + 4]
cmp {x:e}, dword ptr [{gate} + 8]
jae 53f
shl {x}, 7
55:
inc qword ptr [{mark} + {x} + 8]
52:
