// Claim a free slot of this CPU's line for the lock behind {gate}, if that is open: the lock's id,
// else negative.  Results: {mark}, the slot that now holds {id}.  The bound is read before the
// lines: it was published after them, and loads are not reordered on this architecture.
// {table}: the line of CPU 0, then the u32 bound.
mov {id}, qword ptr [{gate}]
test {id}, {id}
js 53f
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{table} + 8]
jae 53f
shl {mark}, 7
add {mark}, qword ptr [{table}]
cmp qword ptr [{mark}], 0
je 55f
lea {x}, [{mark} + 64]
56:
add {mark}, 8
cmp {mark}, {x}
je 53f
cmp qword ptr [{mark}], 0
jne 56b
55:
mov qword ptr [{mark}], {id}
52:
