// Count the `left` word beside the `entered` word that {mark} counted, if this is still its CPU.
// A plain store releases on this architecture.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
55:
inc qword ptr [{mark} + 8]
52:
