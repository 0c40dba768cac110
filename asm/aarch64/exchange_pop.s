// Take the node at the address in the word at offset {at} of this CPU's part: {node}, 0 if there is
// none.  Store there what the node holds at offset {next}.  {mark}: as for exchange_swap.  What the
// word leads to is there to be read: who takes it away meanwhile aborts us before he has it.
// The commit releases.
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
ldr {node}, [{y}]
cbz {node}, 52f
ldr {x}, [{node}, {next}]
55:
stlr {x}, [{y}]
52:
