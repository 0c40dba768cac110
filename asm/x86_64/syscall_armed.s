// Put {value} to the word at {mark}, if that is 0, and call the kernel, as in syscall_unless.
// Only handlers of this thread look at the word: an explicit segment tells the checker a store that
// is not the commit.
cmp qword ptr [{mark}], 0
jne 53f
mov qword ptr ds:[{mark}], {value}
55:
syscall
52:
