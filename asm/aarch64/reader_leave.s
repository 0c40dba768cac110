// Count this CPU's `left` word in the phase {mark} of CPU 0's line, wherever it was entered.
// The commit releases: the loads of the read-side critical section come before the count.
// {gate}: as for reader_enter.
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{gate}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {x}, {mark}, {x}, lsl 7
add {x}, {x}, 8
ldr {y}, [{x}]
add {y}, {y}, 1
55:
stlr {y}, [{x}]
52:
