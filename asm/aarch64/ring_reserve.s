// Stage {header} and {stamp} at {at}, and publish them by {new}, the head of CPU `cpu`, if this is
// still that CPU and its {head} holds {old}.  What is behind {old} nobody looks at before the
// commit, so an aborted try leaves nothing but bytes that the next one writes again.
// The commit releases what was staged; `stur` tells the checker a store that is.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
ldr {y}, [{head}]
cmp {y}, {old}
b.ne 53f
stur {header}, [{at}]
stur {stamp}, [{at}, 8]
55:
stlr {new}, [{head}]
52:
