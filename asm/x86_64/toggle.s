// Flip this thread's stripe hint, at offset {x} from the thread pointer, and leave the new
// value in {stripe}.  Not a restartable section: a signal handler in between merely makes
// a stripe repeat.
mov {stripe:e}, dword ptr fs:[{x}]
xor {stripe:e}, 16
mov dword ptr fs:[{x}], {stripe:e}
