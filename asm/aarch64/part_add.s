// Add {n} to the word at offset {at} of this CPU's part, if {place} is open.
// {place}: part of CPU 0, then the u32 bound.  The part is tested on its own, since the bound may be
// seen before it.
ldr {mark}, [{place}]
cbz {mark}, 53f
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{place}, 8]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {mark}, {x:x}, lsl 16
ldr {y}, [{mark}, {at}]
add {y}, {y}, {n}
55:
str {y}, [{mark}, {at}]
52:
