// Copy the head of this CPU's page of {table}, the counter that it names, and the virtual count to
// {to}, a buffer of the caller's that nobody else looks at: stur tells the checker stores that are not
// the commit.
// {table}: the u32 bound, then at 8 the addresses of the CPUs' pages.  {mark}: the page.
// The page's lock is read with its first words and again at last: the kernel changes the page on this
// CPU, in interrupts, which abort nothing.  Index 0: it does not count here now.  Index 32 is the cycle
// counter, 1 to 6 are those of events; behind the section the caller turns others away.
ldr {x:w}, [{area}, 4]
ldr {y:w}, [{table}]
cmp {x:w}, {y:w}
b.hs 53f
add {mark}, {table}, {x:x}, lsl 3
ldr {mark}, [{mark}, 8]
cbz {mark}, 53f
stur {x:w}, [{to}]
ldp {v:q}, {w:q}, [{mark}]
stur {v:q}, [{to}, 16]
stur {w:q}, [{to}, 32]
ldp {v:q}, {w:q}, [{mark}, 32]
stur {v:q}, [{to}, 48]
stur {w:q}, [{to}, 64]
ldp {v:q}, {w:q}, [{mark}, 64]
stur {v:q}, [{to}, 80]
stur {w:q}, [{to}, 96]
ldr {y:w}, [{mark}, 12]
sub {y:w}, {y:w}, 1
mov {x}, 0
cmp {y:w}, 31
b.eq 59f
cmp {y:w}, 6
b.hs 60f
tbnz {y:w}, 2, 58f
tbnz {y:w}, 1, 57f
tbnz {y:w}, 0, 56f
mrs {x}, pmevcntr0_el0
b 60f
56:
mrs {x}, pmevcntr1_el0
b 60f
57:
tbnz {y:w}, 0, 57f
mrs {x}, pmevcntr2_el0
b 60f
57:
mrs {x}, pmevcntr3_el0
b 60f
58:
tbnz {y:w}, 0, 58f
mrs {x}, pmevcntr4_el0
b 60f
58:
mrs {x}, pmevcntr5_el0
b 60f
59:
mrs {x}, pmccntr_el0
60:
stur {x}, [{to}, 8]
mrs {x}, cntvct_el0
stur {x}, [{to}, 112]
ldr {x:w}, [{mark}, 8]
55:
str {x:w}, [{to}, 4]
52:
