// Take the last item of this CPU's array, as for cache_push.  Results: {mark}, the item; 0 if there
// is none.
ldr {part}, [{place}]
cbz {part}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {part}, {part}, {x:x}, lsl 16
ldr {y}, [{part}]
cbnz {y}, 53f
add {part}, {part}, {y}
ldr {x}, [{part}, 8]
cbz {x}, 53f
sub {x}, {x}, 1
add {y}, {part}, {x}, lsl 3
ldr {mark}, [{y}, 32]
55:
str {x}, [{part}, 8]
52:
