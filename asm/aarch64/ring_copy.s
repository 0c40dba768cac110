// Stage a whole record at {at}, and publish it by {new}, the head of CPU `cpu`, if this is still
// that CPU and its {head} holds {old}.  What is behind {old} nobody looks at before the commit, so
// an aborted try leaves nothing but bytes that the next one writes again.
// {record}: header, stamp, source, its length in bytes without the last word (a multiple of 8), the
// last word, its address.  Copied from the end.  The commit releases what was staged;
// `stur` tells the checker a store that is.  The area's address is not needed again.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
ldr {y}, [{head}]
cmp {y}, {old}
b.ne 53f
ldr {x}, [{record}]
stur {x}, [{at}]
ldr {x}, [{record}, 8]
stur {x}, [{at}, 8]
ldr {from}, [{record}, 16]
ldr {n}, [{record}, 24]
cbz {n}, 56f
add {y}, {at}, 16
57:
sub {n}, {n}, 8
ldr {x}, [{from}, {n}]
add {area}, {y}, {n}
stur {x}, [{area}]
cbnz {n}, 57b
56:
ldr {x}, [{record}, 32]
ldr {y}, [{record}, 40]
stur {x}, [{y}]
55:
stlr {new}, [{head}]
52:
