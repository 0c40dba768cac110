// Put {item} behind the last one of this CPU's array, if {place} is open, nobody has stopped this
// part and there are fewer than {limit}.  {place}: as for part_add; the flag: as for stack_push. A
// part: how many have stopped it, how many items there are, two words, the items. Behind the last
// one an array says nothing: `stur` tells the checker such a store.
ldr {mark}, [{place}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 16
ldr {y}, [{mark}]
cbnz {y}, 53f
add {mark}, {mark}, {y}
ldr {x}, [{mark}, 8]
cmp {x}, {limit}
b.hs 53f
add {y}, {mark}, {x}, lsl 3
stur {item}, [{y}, 32]
add {x}, {x}, 1
55:
str {x}, [{mark}, 8]
52:
