// Put {value} to the word at {mark}, if that is 0, and call the kernel, as in syscall_unless.
// Only handlers of this thread look at the word: stur tells the checker a store that is not the
// commit.
ldr {x}, [{mark}]
cbnz {x}, 53f
stur {value}, [{mark}]
55:
svc 0
52:
