// As change_commit, with {value} stored to {to} before.  Nobody looks there before the commit, so an
// aborted try leaves nothing but a word that the next one writes again.  The commit releases what was
// staged; `stur` tells the checker a store that is.
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
stur {value}, [{to}]
55:
stlr {new}, [{word}]
52:
