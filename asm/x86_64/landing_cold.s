// As landing_null.s, but abort and early exit go to the caller's label {cold}.
.pushsection .text.unlikely, "ax", @progbits
.byte 0x0f, 0xb9, 0x3d
.long 0x53053053
53:
54:
jmp {cold}
.popsection
.reloc 51b, R_X86_64_NONE, 48b
.reloc 51b, R_X86_64_NONE, 49b
