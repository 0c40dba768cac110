// The descriptor of section 51..52 (struct rseq_cs: version, flags, start, length, abort), a
// pointer to it and its early exit for debuggers and checkpointing tools, which must not stop inside.
.pushsection __rseq_cs, "aw", @progbits
.balign 32
50:
.long 0, 0
.quad 51f, 52f - 51f, 54f
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
