// Store {new} to the word at offset {at} of this CPU's part, and give back what was there: {old}.
// {mark} = 0 if it was not to be had: {place} is closed, or someone has stopped this part, as its
// first word says.  {place}: as for part_add.  The first word is read inside, and before the other,
// whose address depends on it: such a dependency orders loads.  The commit releases.
ldr {mark}, [{place}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 16
ldr {y}, [{mark}]
cbnz {y}, 53f
add {y}, {y}, {mark}
add {y}, {y}, {at}
ldr {old}, [{y}]
55:
stlr {new}, [{y}]
52:
