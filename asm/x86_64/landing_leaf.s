// As landing_null.s, but {mark} becomes {nothing}, an address that no value has.
.pushsection .text.unlikely, "ax", @progbits
.byte 0x0f, 0xb9, 0x3d
.long 0x53053053
53:
54:
mov {mark}, {nothing}
jmp 52b
.popsection
.reloc 51b, R_X86_64_NONE, 48b
.reloc 51b, R_X86_64_NONE, 49b
