// Add {n} to {word}, a word of CPU `cpu`, if this is still that CPU.
ldr {x:w}, [{area}, 4]
cmp {x:w}, {cpu:w}
b.ne 53f
ldr {y}, [{word}]
add {y}, {y}, {n}
55:
str {y}, [{word}]
52:
