"""Takes `subject read` through its lines by rseq-next; then writes a core."""

import os

import gdb

gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("break subject_lines")
gdb.execute("run")
lines = []
while gdb.selected_thread() is not None:
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    if not frame.name().endswith("subject_lines"):
        break
    lines.append(frame.find_sal().line)
    if len(lines) > 50:
        raise gdb.GdbError("steps for ever: %s" % lines)
    gdb.execute("rseq-next")
print("lines %s" % lines)
gdb.execute("rseq-area")
gdb.execute("generate-core-file %s" % os.environ["RSEQ_CORE"])
gdb.execute("continue")
