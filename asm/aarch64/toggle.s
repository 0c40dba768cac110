// Flip this thread's stripe hint, at offset {x} from the thread pointer, and leave the new
// value in {stripe}.  Not a restartable section: a signal handler in between merely makes
// a stripe repeat.
mrs {y}, tpidr_el0
ldr {stripe:w}, [{y}, {x}]
eor {stripe:w}, {stripe:w}, 16
str {stripe:w}, [{y}, {x}]
