#!/usr/bin/env python3
"""initramfs.py OUT GUEST=HOST...: packs files into a compressed initial file system."""

import gzip
import sys

HEADER = "070701" + "%08x" * 13


def entry(name, mode, data=b"", device=(0, 0)):
    """One record of the "newc" format: header, name, data, each padded to four bytes."""
    path = name.encode() + b"\0"
    entry.number += 1
    fields = (entry.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    record = (HEADER % fields).encode() + path
    record += bytes(-len(record) % 4) + data
    return record + bytes(-len(data) % 4)


entry.number = 0


def main(out, *files):
    archive = b""
    for directory in ("proc", "sys", "dev", "tmp", "t"):
        archive += entry(directory, 0o40755)
    # So that the first process has a console even before /dev is mounted.
    archive += entry("dev/console", 0o20600, device=(5, 1))
    for pair in files:
        guest, host = pair.split("=", 1)
        with open(host, "rb") as file:
            archive += entry(guest, 0o100755, file.read())
    archive += entry("TRAILER!!!", 0)
    with open(out, "wb") as file:
        file.write(gzip.compress(archive, 1))


main(*sys.argv[1:])
