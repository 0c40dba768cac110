// Plant the descriptor (label 50, emitted just before this text) for the section 51..52.
// The planting store is the last instruction before the section: anything between them
// would be a window in which a signal clears the descriptor and the section runs unprotected.
// {o}: offset of the rseq area from the thread pointer.  {x}: scratch.
lea {x}, [rip + 50b]
mov qword ptr fs:[{o} + 8], {x}
51:
