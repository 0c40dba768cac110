// Claim a free slot of this CPU's line for the lock behind {gate}, if that is open: the lock's id,
// else negative.  Results: {mark}, the slot that now holds {id}.  Nothing here is ordered but by
// dependency: the lines are tested on their own, since the bound may be seen before them; the
// commit comes behind the load that found the slot free, by the branch between them.
// Not tbnz, which reaches 32 KiB: the landing is behind the whole function.
// {table}: the line of CPU 0, then the u32 bound.
ldr {id}, [{gate}]
tst {id}, {id}
b.mi 53f
ldr {mark}, [{table}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{table}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 7
ldr {y}, [{mark}]
cbz {y}, 55f
add {x}, {mark}, 64
56:
add {mark}, {mark}, 8
cmp {mark}, {x}
b.eq 53f
ldr {y}, [{mark}]
cbnz {y}, 56b
55:
str {id}, [{mark}]
52:
