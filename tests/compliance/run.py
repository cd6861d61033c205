"""The rules that clients punish, over a genuine driver (theirs) or over ours: one body.

run.py --driver PATH [--runtime PATH] [--subject ours|theirs] [--only TEXT] [--noun NOUN] [--list]

Prints one JSON line a case: name, outcome (held, broken, died, hung, unfit), and what was seen. Ends
with 0 if every case held, 1 if not. Each case runs in a process of its own.
"""

import argparse
import json
import os
import select
import signal
import sys

import rules
from cases import load

# Longer than any case needs; a driver that hangs is found all the same.
SECONDS_MAX = 60


def child(name, options, pipe):
    """Runs one case and says how it went. Does not return."""
    try:
        rules.CASES[name](rules.World(options.driver, options.runtime))
        outcome = {"outcome": "held"}
    except rules.Broken as broken:
        line = broken.__traceback__
        while line.tb_next is not None and line.tb_next.tb_frame.f_globals["__name__"] != "rules":
            line = line.tb_next
        outcome = {"outcome": "broken", "saw": f"line {line.tb_lineno}: {broken}"}
    except rules.Unfit as unfit:
        outcome = {"outcome": "unfit", "saw": str(unfit)}
    except Exception as error:  # a defect of the case, or a name that the library lacks
        outcome = {"outcome": "broken", "saw": f"{type(error).__name__}: {error}"}
    os.write(pipe, json.dumps(outcome).encode())
    # No exit handlers: what the case broke must not hide what it saw.
    os._exit(0)


def run(name, options):
    """Runs one case in a child, and waits for it within the limit."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.close(reader)
        child(name, options, writer)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], SECONDS_MAX)
    said = os.read(reader, 1 << 16) if ready else b""
    os.close(reader)
    if not ready:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if said:
        return json.loads(said)
    if not ready:
        return {"outcome": "hung", "saw": f"no answer within {SECONDS_MAX} s"}
    return {"outcome": "died", "saw": f"wait status {status}"}


def main():
    """Runs the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver", required=True, help="libcuda.so.1 under test")
    parser.add_argument("--runtime", help="libcudart.so under test")
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--noun", help="only the cases of this module")
    parser.add_argument("--list", action="store_true", help="name the cases, run none")
    options = parser.parse_args()
    load()
    names = [name for name in rules.CASES if options.only in name]
    if options.noun is not None:
        names = [name for name in names if rules.CASES[name].__module__ == f"cases.{options.noun}"]
    held = True
    for name in names:
        outcome = {} if options.list else run(name, options)
        held = held and outcome.get("outcome", "held") in ("held", "unfit")
        print(json.dumps({"case": name, **outcome}), flush=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
