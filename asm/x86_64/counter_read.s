// Copy the head of this CPU's page of {table}, the counter that it names, and the time stamp counter
// to {to}, a buffer of the caller's that nobody else looks at: an explicit segment tells the checker
// stores that are not the commit.
// {table}: the u32 bound, then at 8 the addresses of the CPUs' pages.  {mark}: the page.
// The page's lock is read with its first words and again at last: the kernel changes the page on this
// CPU, in interrupts, which abort nothing.  Index 0: it does not count here now.
mov {x:e}, dword ptr fs:[{o} + 4]
cmp {x:e}, dword ptr [{table}]
jae 53f
mov {mark}, qword ptr [{table} + 8*{x} + 8]
test {mark}, {mark}
jz 53f
mov dword ptr ds:[{to}], {x:e}
movaps {v}, xmmword ptr [{mark}]
movaps xmmword ptr ds:[{to} + 16], {v}
movaps {v}, xmmword ptr [{mark} + 16]
movaps xmmword ptr ds:[{to} + 32], {v}
movaps {v}, xmmword ptr [{mark} + 32]
movaps xmmword ptr ds:[{to} + 48], {v}
movaps {v}, xmmword ptr [{mark} + 48]
movaps xmmword ptr ds:[{to} + 64], {v}
movaps {v}, xmmword ptr [{mark} + 64]
movaps xmmword ptr ds:[{to} + 80], {v}
movaps {v}, xmmword ptr [{mark} + 80]
movaps xmmword ptr ds:[{to} + 96], {v}
xor eax, eax
xor edx, edx
mov ecx, dword ptr [{mark} + 12]
sub ecx, 1
jb 56f
rdpmc
56:
mov dword ptr ds:[{to} + 8], eax
mov dword ptr ds:[{to} + 12], edx
rdtsc
mov dword ptr ds:[{to} + 112], eax
mov dword ptr ds:[{to} + 116], edx
mov {x:e}, dword ptr [{mark} + 8]
55:
mov dword ptr [{to} + 4], {x:e}
52:
