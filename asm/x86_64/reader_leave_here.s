// Count the `left` word beside the `entered` word that {mark} counted, if this is still the CPU
// of that line.  A plain store releases on this architecture.
mov {x:e}, dword ptr fs:[{o} + 4]
cmp {x:e}, dword ptr [{mark} + 16]
jne 53f
55:
inc qword ptr [{mark} + 8]
52:
