// Watch {word} of a lock until its lowest bit is clear, its holder's CPU is this one, or {n} looks
// have passed, with four pauses more after each.  Commits nothing: whoever waits asks whether the
// kernel took the CPU away meanwhile.
// {me}: the name of this CPU in such a word, 8 times its number plus 1.  {seen}: the last look.
// {gap}: pauses after the next look.
mov {me:e}, dword ptr fs:[{o} + 4]
lea {me:e}, [{me} * 8 + 8]
56:
mov {seen:e}, dword ptr [{word}]
test {seen:e}, 1
jz 52f
mov {x:e}, {seen:e}
xor {x:e}, {me:e}
cmp {x:e}, 8
jb 52f
mov {x:e}, {gap:e}
57:
pause
dec {x:e}
jnz 57b
add {gap:e}, 4
dec {n:e}
jnz 56b
55:
nop
52:
