"""Steps `subject enter` through each attempt, by the command in $RSEQ_STEP. With $RSEQ_BREAK, a
breakpoint stands inside the section, and one on the instruction before it."""

import os

import gdb

command = os.environ["RSEQ_STEP"]
gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("set language c")
gdb.execute("break *subject_enter")
gdb.execute("run")
gdb.execute("info rseq")
if "RSEQ_BREAK" in os.environ:
    for section in sections():
        if "subject_enter" in gdb.execute("info symbol %#x" % section.start, to_string=True):
            code = gdb.execute("x/30i subject_enter", to_string=True).splitlines()
            at = [int(line.replace("=>", "").split()[0].rstrip(":"), 16) for line in code]
            gdb.execute("break *%#x" % max(address for address in at if address < section.start))
            gdb.execute("break *%#x" % section.start)
steps = attempts = 0
while gdb.selected_thread() is not None:
    attempts += 1
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    back = int(frame.older().pc())
    while int(gdb.newest_frame().pc()) != back:
        gdb.execute(command)
        steps += 1
        if steps > 100 * 1000:
            raise gdb.GdbError("steps for ever")
    gdb.execute("continue")
print("%d attempts, %d steps of %s" % (attempts, steps, command))
