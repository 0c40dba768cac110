"""gdb commands for restartable sequences (sections), of stillpoint or of anybody who emits the
standard arrays __rseq_cs_ptr_array and __rseq_exit_point_array.

    (gdb) source tools/gdb/rseq.py

    info rseq         the sections of all loaded objects, and where this thread is
    rseq-area         this thread's struct rseq (glibc's registration, or one at an address)
    rseq-stepi [N]    stepi, and over a section as if it were one instruction
    rseq-nexti [N]    nexti, likewise
    rseq-next [N]     next, likewise

A debugger that stops inside a section has it aborted by the kernel: step by step, it never ends. So
these commands never stop there. The last instruction before a section plants its descriptor;
instead of stepping that one, they let the thread run to where it comes out: behind the section, at
its abort landing, or at its early exit. Breakpoints of yours from the planting instruction to the
section's end are off meanwhile: the kernel would abort the section at each.
"""

import re
import struct

import gdb

ARRAYS = re.compile(
    r"0x([0-9a-f]+) - 0x([0-9a-f]+) is "
    r"(__rseq_cs_ptr_array|__rseq_exit_point_array)(?: in (.*))?$"
)


class Section:
    """One section, as its descriptor has it."""

    def __init__(self, where, descriptor, exits):
        self.where = where
        self.descriptor = descriptor
        self.version, self.flags, self.start, length, self.abort = struct.unpack(
            "<IIQQQ", memory(descriptor, 32)
        )
        self.end = self.start + length
        self.exits = exits.get(self.start, [])

    def __contains__(self, pc):
        return self.start <= pc < self.end

    def ways_out(self):
        """Where a thread comes out, and how that is called. An early exit may be where aborts
        land as well."""
        ways = {exit: "left early" for exit in self.exits}
        ways[self.abort] = "aborted or left early" if self.abort in ways else "aborted"
        ways[self.end] = "done"
        return ways


def memory(address, length):
    return gdb.selected_inferior().read_memory(address, length).tobytes()


def words(start, end):
    return struct.unpack("<%dQ" % ((end - start) // 8), memory(start, end - start))


def sections():
    """All sections of all loaded objects. Position-independent ones must be running, or a core:
    before that, their arrays are not relocated."""
    pointers, exits = [], {}
    for line in gdb.execute("info files", to_string=True).splitlines():
        match = ARRAYS.search(line.strip())
        if not match:
            continue
        start, end = int(match[1], 16), int(match[2], 16)
        found = words(start, end)
        if match[3] == "__rseq_cs_ptr_array":
            pointers += [(match[4] or "the program", pointer) for pointer in found]
        else:
            for at in range(0, len(found) - 1, 2):
                exits.setdefault(found[at], []).append(found[at + 1])
    try:
        return [Section(where, pointer, exits) for where, pointer in pointers]
    except gdb.MemoryError:
        raise gdb.GdbError("the arrays are not relocated: start the program")


def value_of(expression):
    """Evaluates as C, whatever the program is written in."""
    language = gdb.parameter("language")
    gdb.execute("set language c", to_string=True)
    try:
        return int(gdb.parse_and_eval(expression))
    finally:
        gdb.execute("set language " + language, to_string=True)


def pc():
    return int(gdb.newest_frame().pc())


def next_pc():
    """The address behind the instruction at hand."""
    frame = gdb.newest_frame()
    return pc() + frame.architecture().disassemble(pc())[0]["length"]


def ahead(known):
    """The section that the next step would stop in, if any."""
    here, behind = pc(), next_pc()
    for section in known:
        if here in section or behind == section.start:
            return section
    return None


def in_the_way(section):
    """Breakpoints of the user that would stop in the section, or before it: to go on from one, gdb
    steps, which stops in the section as well."""
    # What plants is at most this long, on every architecture.
    first = section.start - 15
    for point in gdb.breakpoints():
        if not point.enabled or not point.is_valid():
            continue
        locations = getattr(point, "locations", None) or []
        if any(first <= location.address < section.end for location in locations):
            yield point


def run_out(section):
    """Lets the thread run until it is out of the section. None if something else stopped it."""
    here = pc() not in section
    ways = section.ways_out()
    thread = gdb.selected_thread()
    off = list(in_the_way(section))
    points = []
    try:
        for point in off:
            point.enabled = False
        for way in ways:
            point = gdb.Breakpoint("*%#x" % way, internal=True)
            point.silent = True
            point.thread = thread.global_num
            points.append(point)
        gdb.execute("continue", to_string=True)
        if not thread.is_valid() or gdb.selected_thread() != thread:
            return None
        outcome = ways.get(pc())
        return outcome if here or outcome is None else outcome + ", since it was stopped inside"
    finally:
        for point in points:
            if point.is_valid():
                point.delete()
        for point in off:
            if point.is_valid():
                point.enabled = True


def one(known, command, always=True):
    """One instruction, or one section, of which it tells, or only if it did not end. False if
    something else stopped the thread."""
    section = ahead(known)
    if section is None:
        before = gdb.selected_thread()
        gdb.execute(command, to_string=True)
        return gdb.selected_thread() == before and before is not None
    outcome = run_out(section)
    if always or outcome != "done":
        print("section %#x..%#x: %s" % (section.start, section.end, outcome or "interrupted"))
    return outcome is not None


def show():
    if gdb.selected_thread() is not None:
        gdb.execute("frame 0")


def times(argument):
    return value_of(argument) if argument else 1


class ByInstruction(gdb.Command):
    """Like stepi (nexti), and over a restartable section as if it were one instruction."""

    def __init__(self, name, command):
        super().__init__(name, gdb.COMMAND_RUNNING)
        self.command = command

    def invoke(self, argument, from_tty):
        known = sections()
        for _ in range(times(argument)):
            if not one(known, self.command):
                break
        if from_tty:
            show()


def inlined():
    """The function at hand: how many real frames are below it, and the lines of what is inlined
    into one another there, outermost first."""
    frame = gdb.newest_frame()
    lines = []
    while True:
        place = frame.find_sal()
        lines.append((place.symtab and place.symtab.filename, place.line))
        if frame.type() != gdb.INLINE_FRAME:
            break
        frame = frame.older()
    depth = 0
    while frame is not None:
        if frame.type() != gdb.INLINE_FRAME:
            depth += 1
        frame = frame.older()
    return depth, lines[::-1]


def in_no_function():
    """True at a landing: code of a section that stands in no function."""
    block = None
    try:
        block = gdb.block_for_pc(pc())
    except RuntimeError:
        pass
    return block is None or block.function is None and block.superblock.function is None


class Next(gdb.Command):
    """Like next, and over restartable sections without stopping in them."""

    def __init__(self):
        super().__init__("rseq-next", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        for _ in range(times(argument)):
            if not self.line(sections()):
                break
        if from_tty:
            show()

    def line(self, known):
        depth, lines = inlined()
        level = len(lines) - 1
        while True:
            if not one(known, "nexti", always=False):
                return False
            if in_no_function():
                continue
            now, stack = inlined()
            if now < depth or len(stack) <= level and now == depth and stack != lines[: len(stack)]:
                return True
            if now > depth or len(stack) <= level or stack[level] == lines[level]:
                continue
            if stack[level][1] == 0:
                continue
            if len(stack) > level + 1 or gdb.find_pc_line(pc()).pc == pc():
                return True


class Area(gdb.Command):
    """This thread's struct rseq. An argument is its address, where libc did not register it."""

    def __init__(self):
        super().__init__("rseq-area", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        address = value_of(argument) if argument else self.of_libc()
        start, cpu, descriptor, flags, node, concurrency = struct.unpack(
            "<IiQIII", memory(address, 28)
        )
        print(
            "struct rseq at %#x: cpu_id %d, cpu_id_start %d, rseq_cs %#x, flags %#x, "
            "node_id %d, mm_cid %d" % (address, cpu, start, descriptor, flags, node, concurrency)
        )
        for section in sections():
            if section.descriptor == descriptor:
                print("rseq_cs: section %#x..%#x" % (section.start, section.end))

    def of_libc(self):
        try:
            # glibc's symbols have no type without its debugging information.
            size = value_of("*(unsigned int *)&__rseq_size")
            offset = value_of("*(long *)&__rseq_offset")
        except gdb.error:
            raise gdb.GdbError("this C library says nothing of rseq: give the area's address")
        if size == 0:
            raise gdb.GdbError("this C library registered nothing: give the area's address")
        for register in ("fs_base", "tpidr"):
            try:
                return int(gdb.newest_frame().read_register(register)) + offset
            except ValueError:
                continue
        raise gdb.GdbError("no thread pointer")


class Info(gdb.Command):
    """The restartable sections of all loaded objects, and where this thread is."""

    def __init__(self):
        super().__init__("info rseq", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        known = sections()
        print("%d sections" % len(known))
        for s in known:
            block = gdb.execute("info symbol %#x" % s.start, to_string=True).split(" in section")[0]
            exits = ", ".join("%#x" % exit for exit in s.exits) or "none"
            print(
                "%#x..%#x abort %#x exit %s descriptor %#x in %s: %s"
                % (s.start, s.end, s.abort, exits, s.descriptor, s.where, block.strip())
            )
        if gdb.selected_thread() is not None:
            inside = [s for s in known if pc() in s]
            print("this thread is %s" % ("inside %#x" % inside[0].start if inside else "in none"))


Info()
Area()
ByInstruction("rseq-stepi", "stepi")
ByInstruction("rseq-nexti", "nexti")
Next()
