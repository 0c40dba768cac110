// Take all of this CPU's list, as for stack_push: {node} is its top, 0 if it is empty.
// {mark} = 0 if it was not to be had.
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
55:
str xzr, [{mark}, 8]
52:
