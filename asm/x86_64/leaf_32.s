// Read up to thirty-two words, as leaf_1.s reads one.  Results: {a} to {q}, two words each.
// The second half of them begins {tail} bytes behind the address: both may overlap.
mov {mark}, qword ptr [{cell}]
movups {a}, xmmword ptr [{mark}]
movups {b}, xmmword ptr [{mark} + 16]
movups {c}, xmmword ptr [{mark} + 32]
movups {d}, xmmword ptr [{mark} + 48]
movups {e}, xmmword ptr [{mark} + 64]
movups {f}, xmmword ptr [{mark} + 80]
movups {g}, xmmword ptr [{mark} + 96]
movups {h}, xmmword ptr [{mark} + 112]
movups {i}, xmmword ptr [{mark} + {tail}]
movups {j}, xmmword ptr [{mark} + {tail} + 16]
movups {k}, xmmword ptr [{mark} + {tail} + 32]
movups {l}, xmmword ptr [{mark} + {tail} + 48]
movups {m}, xmmword ptr [{mark} + {tail} + 64]
movups {n}, xmmword ptr [{mark} + {tail} + 80]
movups {p}, xmmword ptr [{mark} + {tail} + 96]
55:
movups {q}, xmmword ptr ds:[{mark} + {tail} + 112]
52:
