// Count this CPU's `entered` word in the current phase.  Results: {mark}, the phase in that CPU's
// line, and the CPU.  The bound is read before the phase: a nonzero bound is published after the
// phase pointer, and loads are not reordered on this architecture.
// {gate}: the phase pointer, then the u32 bound.
mov {cpu:e}, dword ptr fs:[{o} + 4]
cmp {cpu:e}, dword ptr [{gate} + 8]
jae 53f
mov {mark:e}, {cpu:e}
shl {mark}, 7
add {mark}, qword ptr [{gate}]
55:
inc qword ptr [{mark}]
52:
