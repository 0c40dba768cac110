// Add {n} to {word}, a word of CPU `cpu`, if this is still that CPU.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
55:
add qword ptr [{word}], {n}
52:
