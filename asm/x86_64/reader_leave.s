// Count this CPU's `left` word in the phase and stripe of {mark}.
// A plain store releases on this architecture.
mov {x:e}, dword ptr fs:[{o} + 4]
cmp {x:e}, dword ptr [{gate} + 8]
jae 53f
shl {x}, 7
55:
inc qword ptr [{mark} + {x} + 136]
52:
