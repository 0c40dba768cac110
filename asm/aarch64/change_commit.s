// Store {new} to {word}, a word of CPU `cpu`, if this is still that CPU, {also} holds {is}, and the
// word holds {old}.  The other word is read first: what was changed before it was stored is seen
// behind it, since the address of the word depends on the difference, which is 0, and such a
// dependency orders loads.  The commit releases.
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
55:
stlr {new}, [{word}]
52:
