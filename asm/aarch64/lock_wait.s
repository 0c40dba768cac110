// Watch {word} of a lock until its lowest bit is clear, its holder's CPU is this one, or {n} looks
// have passed, with four pauses more after each.  Commits nothing: whoever waits asks whether the
// kernel took the CPU away meanwhile.
// {me}: the name of this CPU in such a word, 8 times its number plus 1.  {seen}: the last look.
// {gap}: pauses after the next look.
ldr {me:w}, [{area}, 4]
lsl {me:w}, {me:w}, 3
add {me:w}, {me:w}, 8
56:
ldr {seen:w}, [{word}]
tbz {seen:w}, 0, 52f
eor {x:w}, {seen:w}, {me:w}
cmp {x:w}, 8
b.lo 52f
mov {x:w}, {gap:w}
57:
yield
subs {x:w}, {x:w}, 1
b.ne 57b
add {gap:w}, {gap:w}, 4
subs {n:w}, {n:w}, 1
b.ne 56b
55:
nop
52:
