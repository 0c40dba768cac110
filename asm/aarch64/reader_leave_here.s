// Count the `left` word beside the `entered` word that {mark} counted, if this is still its CPU.
// The commit releases: the loads of the read-side critical section come before the count.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
add {x}, {mark}, 8
ldr {y}, [{x}]
add {y}, {y}, 1
55:
stlr {y}, [{x}]
52:
