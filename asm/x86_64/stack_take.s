// Take all of this CPU's list, as for stack_push: {node} is its top, 0 if it is empty.
// {mark} = 0 if it was not to be had.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
mov {x}, qword ptr [{mark}]
cmp {x}, 1
ja 53f
lea {mark}, [{mark} + {x}*8]
mov {node}, qword ptr [{mark} + 8]
test {node}, {node}
jz 52f
55:
mov qword ptr [{mark} + 8], 0
52:
