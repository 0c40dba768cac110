// Abort landing (54) and early exit (53) of section 51..52, out of line: {mark} = 0, go on
// behind the section.  The four bytes before the landing must be the signature of whoever
// registered the thread; `ud1` in front makes them disassemble.  The .reloc lines keep the
// arrays alive under --gc-sections exactly as long as this code lives.
.pushsection .text.unlikely, "ax", @progbits
.byte 0x0f, 0xb9, 0x3d
.long 0x53053053
53:
54:
xor {mark:e}, {mark:e}
jmp 52b
.popsection
.reloc 51b, R_X86_64_NONE, 48b
.reloc 51b, R_X86_64_NONE, 49b
