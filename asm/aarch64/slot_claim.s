// Claim a free slot of this CPU's line for the lock behind {gate}, if that is open: the lock's id,
// else negative.  Results: {mark}, the slot that now holds {id}.  The gate is acquired: with it
// comes what the writer before stored.  It also orders the bound and the lines, which were there
// before the gate first opened.  The commit is plain: a free slot was released by whoever
// had it, and the branch orders our store behind that load.
// {table}: the line of CPU 0, then the u32 bound.
ldar {id}, [{gate}]
tbnz {id}, 63, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{table}, 8]
cmp {x:w}, {y:w}
b.hs 53f
ldr {mark}, [{table}]
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
