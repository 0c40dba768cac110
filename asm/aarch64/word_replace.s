// Store {new} to {word}, a word of CPU `cpu`, if this is still that CPU and the word holds {old}.
// The commit releases.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
ldr {y}, [{word}]
cmp {y}, {old}
b.ne 53f
55:
stlr {new}, [{word}]
52:
