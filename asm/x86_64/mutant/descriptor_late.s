// MUTANT of descriptor.s: the section ends before its commit instruction (label 55), so the
// commit stands one instruction too late and the kernel no longer protects it.
.pushsection __rseq_cs, "aw", @progbits
.balign 32
50:
.long 0, 0
.quad 51f, 55f - 51f, 54f
.popsection
.pushsection __rseq_cs_ptr_array, "aw", @progbits
.balign 8
48:
.quad 50b
.popsection
.pushsection __rseq_exit_point_array, "aw", @progbits
.balign 8
49:
.quad 51f, 53f
.popsection
