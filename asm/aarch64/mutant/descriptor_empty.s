// MUTANT of descriptor.s: a section of no length. The kernel finds nobody inside it and aborts nothing, as
// some kernels do by mistake.
.pushsection __rseq_cs, "aw", @progbits
.balign 32
50:
.long 0, 0
.quad 51f, 0, 54f
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
