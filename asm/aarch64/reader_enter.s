// Count this CPU's `entered` word in the current phase.  Results: {mark}, the phase in that
// CPU's line, and the CPU.  Loads may be reordered here, so the phase is tested on its own: the
// bound may be seen before it.  What it points at is ordered by the address.  No acquire: the
// phase gates nothing, see src/rcu/domain.rs.
// {gate}: the phase pointer, then the u32 bound.
ldr {mark}, [{gate}]
cbz {mark}, 53f
ldr {cpu:w}, [{area}, 4]
ldr {y:w}, [{gate}, 8]
cmp {cpu:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {cpu:x}, lsl 7
ldr {y}, [{mark}]
add {y}, {y}, 1
55:
str {y}, [{mark}]
52:
