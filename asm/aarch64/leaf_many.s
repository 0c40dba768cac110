// Copy {n} + 32 bytes to {to}, a buffer of the caller's that nobody else looks at, as leaf_1.s
// reads
// a word; {n} is 16 or more, and a multiple of it.  From the end to the beginning, 32 bytes at a
// time; the last two times may overlap.  Result: {d}, the last 8 of the first 32 bytes, which are
// not stored: the section ends with a load.
ldar {mark}, [{cell}]
56:
add {c}, {mark}, {n}
ldp {a}, {b}, [{c}]
ldp {c}, {d}, [{c}, 16]
add {x}, {to}, {n}
stur {a}, [{x}]
stur {b}, [{x}, 8]
stur {c}, [{x}, 16]
stur {d}, [{x}, 24]
subs {n}, {n}, 32
b.hi 56b
ldp {a}, {b}, [{mark}]
ldr {c}, [{mark}, 16]
stur {a}, [{to}]
stur {b}, [{to}, 8]
stur {c}, [{to}, 16]
55:
ldur {d}, [{mark}, 24]
52:
