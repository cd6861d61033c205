"""Calls every function of one of our libraries with nothing but zeros, before and after its start.

`nulls.py LIBRARY NAMES START...` reads the names from a file, calls each twice: before and after
the functions START. It prints how many names it called, as JSON; a crash ends it without.
"""

import ctypes
import json
import sys

ZEROS = [ctypes.c_void_p(0)] * 12

# A structure is returned through a hidden pointer, which no caller can leave out.
RETURN_A_STRUCTURE = {"cudaCreateChannelDesc"}


def call_all(library, names):
    for name in names:
        # A crash is told by the name that was written last.
        print(name, file=sys.stderr, flush=True)
        getattr(library, name)(*ZEROS)


def main():
    library = ctypes.CDLL(sys.argv[1])
    with open(sys.argv[2]) as lines:
        names = [line.split("@")[0].strip() for line in lines]
    names = [name for name in names if name not in RETURN_A_STRUCTURE]
    call_all(library, names)
    for start in sys.argv[3:]:
        print(f"{start} answers {getattr(library, start)(*ZEROS)}", file=sys.stderr)
    call_all(library, names)
    print(json.dumps({"called": len(names)}))


main()
