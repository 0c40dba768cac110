// Count this CPU's `entered` word in the current phase.  Result: {mark}, the phase's first
// line plus the stripe.  The bound is read before the phase: a nonzero bound is published
// after the phase pointer, and loads are not reordered on this architecture.
// {gate}: the phase pointer, then the u32 bound.  {stripe}: 0 or 16.
mov {x:e}, dword ptr fs:[{o} + 4]
cmp {x:e}, dword ptr [{gate} + 8]
jae 53f
mov {mark}, qword ptr [{gate}]
shl {x}, 7
add {mark}, {stripe}
55:
inc qword ptr [{mark} + {x} + 128]
52:
