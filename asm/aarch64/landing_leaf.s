// As landing_null.s, but {mark} becomes {nothing}, an address that no value has.
.subsection 1
.inst 0xd428bc00
53:
54:
mov {mark}, {nothing}
b 52b
.subsection 0
.reloc 51b, R_AARCH64_NONE, 48b
.reloc 51b, R_AARCH64_NONE, 49b
