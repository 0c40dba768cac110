// Take the node at the address in the word at offset {at} of this CPU's part: {node}, 0 if there is
// none.  Store there what the node holds at offset {next}.  {mark}: as for exchange_swap.  What the
// word leads to is there to be read: who takes it away meanwhile aborts us before he has it.
mov {mark:e}, dword ptr fs:[{o} + 4]
cmp {mark:e}, dword ptr [{place} + 8]
jae 53f
shl {mark}, 16
add {mark}, qword ptr [{place}]
cmp qword ptr [{mark}], 0
jne 53f
mov {node}, qword ptr [{mark} + {at}]
test {node}, {node}
jz 52f
mov {x}, qword ptr [{node} + {next}]
55:
mov qword ptr [{mark} + {at}], {x}
52:
