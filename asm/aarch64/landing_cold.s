// As landing_null.s, but abort and early exit go to the caller's label {cold}.
.subsection 1
.inst 0xd428bc00
53:
54:
b {cold}
.subsection 0
.reloc 51b, R_AARCH64_NONE, 48b
.reloc 51b, R_AARCH64_NONE, 49b
