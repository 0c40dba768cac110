// Spin until *{flag} becomes nonzero or {n} rounds have passed.  Commits nothing: the
// self-test only asks whether the kernel sent us to the abort landing.
56:
ldr {x:w}, [{flag}]
cbnz {x:w}, 52f
subs {n}, {n}, 1
b.ne 56b
55:
nop
52:
