// Add one to the word at the address in {cell}, atomically: others count there too.  Result: {mark},
// the address.  Which addresses are turned away, and what orders the loads: as in leaf_1.s.
// The exclusive store is the commit. It may find that another processor was there: then nothing
// was stored, and {failed} is not 0. An abort gives the reservation up, as every exception does.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tbnz {x}, 63, 53f
ldxr {y}, [{mark}]
add {y}, {y}, 1
55:
stxr {failed:w}, {y}, [{mark}]
52:
