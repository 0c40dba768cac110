// Call the kernel, unless the u32 at {mark} is set.  The system call commits: the kernel looks at
// where the thread is when the call is over, and that is behind the section.
ldr {x:w}, [{mark}]
cbnz {x:w}, 53f
55:
svc 0
52:
