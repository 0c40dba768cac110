// Store {new} to {word}, a word of CPU `cpu`, if this is still that CPU, {also} holds {is}, and the
// word holds {old}.  The other word is read first: what was changed before it was stored is seen
// behind it, since loads are not reordered on this architecture; and a plain store releases.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{also}], {is}
jne 53f
cmp qword ptr [{word}], {old}
jne 53f
55:
mov qword ptr [{word}], {new}
52:
