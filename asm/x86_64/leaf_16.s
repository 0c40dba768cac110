// Read up to sixteen words, as leaf_1.s reads one.  Results: {a} to {h}, two words each.
// The second half of them begins {tail} bytes behind the address: both may overlap.
mov {mark}, qword ptr [{cell}]
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
movups {c}, xmmword ptr [{mark} + 32]
movups {d}, xmmword ptr [{mark} + 48]
movups {e}, xmmword ptr [{mark} + {tail}]
movups {f}, xmmword ptr [{mark} + {tail} + 16]
movups {g}, xmmword ptr [{mark} + {tail} + 32]
55:
movups {h}, xmmword ptr ds:[{mark} + {tail} + 48]
52:
