// As change_store, with {n} bytes from {from} copied to {to}, a multiple of 8, from the end.  The
// area's address is not needed again.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
ldr {y}, [{also}]
sub {y}, {y}, {is}
cbnz {y}, 53f
add {y}, {word}, {y}
ldr {x}, [{y}]
cmp {x}, {old}
b.ne 53f
cbz {n}, 55f
57:
sub {n}, {n}, 8
ldr {x}, [{from}, {n}]
add {area}, {to}, {n}
stur {x}, [{area}]
cbnz {n}, 57b
55:
stlr {new}, [{word}]
52:
