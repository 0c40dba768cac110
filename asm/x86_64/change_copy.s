// As change_store, with {n} bytes from {from} copied to {to}, a multiple of 8, from the end.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{also}], {is}
jne 53f
cmp qword ptr [{word}], {old}
jne 53f
test {n}, {n}
jz 55f
57:
mov {x}, qword ptr [{from} + {n} - 8]
mov qword ptr ds:[{to} + {n} - 8], {x}
sub {n}, 8
jnz 57b
55:
mov qword ptr [{word}], {new}
52:
