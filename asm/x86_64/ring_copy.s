// Stage a whole record at {at}, and publish it by {new}, the head of CPU `cpu`, if this is still
// that CPU and its {head} holds {old}.  What is behind {old} nobody looks at before the commit, so
// an aborted try leaves nothing but bytes that the next one writes again.
// {record}: header, stamp, source, its length in bytes without the last word (a multiple of 8), the
// last word, its address.  Copied from the end.  A plain store releases on this architecture.  An
// explicit segment tells the checker a store that is staged.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{head}], {old}
jne 53f
mov {x}, qword ptr [{record}]
mov qword ptr ds:[{at}], {x}
mov {x}, qword ptr [{record} + 8]
mov qword ptr ds:[{at} + 8], {x}
mov {from}, qword ptr [{record} + 16]
mov {n}, qword ptr [{record} + 24]
test {n}, {n}
jz 56f
57:
mov {x}, qword ptr [{from} + {n} - 8]
mov qword ptr ds:[{at} + {n} + 8], {x}
sub {n}, 8
jnz 57b
56:
mov {x}, qword ptr [{record} + 32]
mov {from}, qword ptr [{record} + 40]
mov qword ptr ds:[{from}], {x}
55:
mov qword ptr [{head}], {new}
52:
