// Take the last item of this CPU's array, as for cache_push.  Results: {mark}, the item; 0 if there
// is none.
mov {part:e}, dword ptr fs:[{o} + 4]
cmp {part:e}, dword ptr [{place} + 8]
jae 53f
shl {part}, 16
add {part}, qword ptr [{place}]
cmp qword ptr [{part}], 0
jne 53f
mov {x}, qword ptr [{part} + 8]
sub {x}, 1
jc 53f
mov {mark}, qword ptr [{part} + {x}*8 + 32]
55:
mov qword ptr [{part} + 8], {x}
52:
