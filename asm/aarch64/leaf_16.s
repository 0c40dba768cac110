// Read up to sixteen words, as leaf_1.s reads one.  Results: {a:q} to {h:q}, two words each.
// The second half of them begins {tail} bytes behind the address: both may overlap.
ldar {mark}, [{cell}]
ldp {a:q}, {b:q}, [{mark}]
ldp {c:q}, {d:q}, [{mark}, 32]
ldp {e:q}, {f:q}, [{mark}, {tail}]
ldr {g:q}, [{mark}, {tail} + 32]
55:
ldur {h:q}, [{mark}, {tail} + 48]
52:
