// Copy {n} + 64 bytes to {to}, a buffer of the caller's that nobody else looks at, as leaf_1.s
// reads
// a word; {n} is 16 or more, and a multiple of it.  From the end to the beginning, 64 bytes at a
// time; the last two times may overlap.  Result: {d}, the last 16 of the first 64 bytes, which are
// not stored: the section ends with a load.
mov {mark}, qword ptr [{cell}]
56:
movups {a}, xmmword ptr [{mark} + {n}]
movups {b}, xmmword ptr [{mark} + {n} + 16]
movups {c}, xmmword ptr [{mark} + {n} + 32]
movups {d}, xmmword ptr [{mark} + {n} + 48]
movups xmmword ptr ds:[{to} + {n}], {a}
movups xmmword ptr ds:[{to} + {n} + 16], {b}
movups xmmword ptr ds:[{to} + {n} + 32], {c}
movups xmmword ptr ds:[{to} + {n} + 48], {d}
sub {n}, 64
ja 56b
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
movups {c}, xmmword ptr [{mark} + 32]
movups xmmword ptr ds:[{to}], {a}
movups xmmword ptr ds:[{to} + 16], {b}
movups xmmword ptr ds:[{to} + 32], {c}
55:
movups {d}, xmmword ptr ds:[{mark} + 48]
52:
