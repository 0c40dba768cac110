// Count this CPU's `entered` word in the current phase.  Result: {mark}, the phase's first
// line plus the stripe.  The phase is loaded with acquire (it gates every later load of the
// read-side critical section) and before the bound, hence the test for a domain that has
// no lines yet.  {gate}: the phase pointer, then the u32 bound.  {stripe}: 0 or 16.
ldar {mark}, [{gate}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{gate}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {stripe}
add {x}, {mark}, {x}, lsl 7
ldr {y}, [{x}, 128]
add {y}, {y}, 1
55:
str {y}, [{x}, 128]
52:
