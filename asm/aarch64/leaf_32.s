// Read up to thirty-two words, as leaf_1.s reads one.  Results: {a:q} to {q:q}, two words each.
// The second half of them begins {tail} bytes behind the address: both may overlap.
ldar {mark}, [{cell}]
ldp {a:q}, {b:q}, [{mark}]
ldp {c:q}, {d:q}, [{mark}, 32]
ldp {e:q}, {f:q}, [{mark}, 64]
ldp {g:q}, {h:q}, [{mark}, 96]
ldp {i:q}, {j:q}, [{mark}, {tail}]
ldp {k:q}, {l:q}, [{mark}, {tail} + 32]
ldp {m:q}, {n:q}, [{mark}, {tail} + 64]
ldr {p:q}, [{mark}, {tail} + 96]
55:
ldur {q:q}, [{mark}, {tail} + 112]
52:
