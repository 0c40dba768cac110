// Spin until *{flag} becomes nonzero or {n} rounds have passed.  Commits nothing: the
// self-test only asks whether the kernel sent us to the abort landing.
56:
cmp dword ptr [{flag}], 0
jne 52f
dec {n}
jnz 56b
55:
nop
52:
