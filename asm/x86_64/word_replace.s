// Store {new} to {word}, a word of CPU `cpu`, if this is still that CPU and the word holds {old}.
// A plain store releases on this architecture.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{word}], {old}
jne 53f
55:
mov qword ptr [{word}], {new}
52:
