// Take the top of this CPU's list, as for stack_push; {node} = 0 if it is empty, {mark} = 0 if it
// was not to be had.  What is on the list is there to be read: who takes it away meanwhile aborts
// us before he has it.
ldr {mark}, [{place}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 16
ldr {y}, [{mark}]
cmp {y}, 1
b.hi 53f
add {mark}, {mark}, {y}, lsl 3
ldr {node}, [{mark}, 8]
cbz {node}, 52f
ldr {x}, [{node}]
55:
str {x}, [{mark}, 8]
52:
