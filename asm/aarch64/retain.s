// Add one to the word at the address in {cell}, atomically: others count there too.  Result:
// {mark},
// the address.  It is negative where nobody may count, and so is the CPU number of a thread that is
// not registered: one test for both.  The first load acquires, as in leaf_1.s.
// Not tbnz, which reaches 32 KiB: the landing is behind the whole function.
// The exclusive store is the commit. It may find that another processor was there: then nothing
// was stored, and {failed:w} is not 0. An abort gives the reservation up, as every exception does.
ldar {mark}, [{cell}]
ldrsw {x}, [{area}, 4]
orr {x}, {x}, {mark}
tst {x}, {x}
b.mi 53f
ldxr {y}, [{mark}]
add {y}, {y}, 1
55:
stxr {failed:w}, {y}, [{mark}]
52:
