// Count this CPU's `left` word in the phase and stripe of {mark}.  The commit releases: the
// loads of the read-side critical section come before the count.
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{gate}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {x}, {mark}, {x}, lsl 7
add {x}, {x}, 136
ldr {y}, [{x}]
add {y}, {y}, 1
55:
stlr {y}, [{x}]
52:
