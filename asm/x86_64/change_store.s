// As change_commit, with {value} stored to {to} before.  Nobody looks there before the commit, so an
// aborted try leaves nothing but a word that the next one writes again.  An explicit segment
// tells the checker a store that is staged.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{also}], {is}
jne 53f
cmp qword ptr [{word}], {old}
jne 53f
mov qword ptr ds:[{to}], {value}
55:
mov qword ptr [{word}], {new}
52:
