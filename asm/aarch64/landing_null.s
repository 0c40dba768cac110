// Abort landing (54) and early exit (53) of section 51..52, at the far end of the function's
// own section, where conditional branches still reach: {mark} = 0, go on behind the section.
// The word before the landing must be the signature of whoever registered the thread (a brk).
// The .reloc lines keep the arrays alive under --gc-sections exactly as long as this code lives.
.subsection 1
.inst 0xd428bc00
53:
54:
mov {mark}, 0
b 52b
.subsection 0
.reloc 51b, R_AARCH64_NONE, 48b
.reloc 51b, R_AARCH64_NONE, 49b
