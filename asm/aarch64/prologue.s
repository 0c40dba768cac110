// Plant the descriptor (label 50, emitted just before this text) for the section 51..52.
// The planting store is the last instruction before the section: anything between them
// would be a window in which a signal clears the descriptor and the section runs unprotected.
// {o}: offset of the rseq area from the thread pointer.  {area}: its address.  {x}: scratch.
mrs {area}, tpidr_el0
add {area}, {area}, {o}
adrp {x}, 50b
add {x}, {x}, :lo12:50b
str {x}, [{area}, 8]
51:
