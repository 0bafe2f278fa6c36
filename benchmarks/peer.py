"""One peer in a process of its own: ``python -m benchmarks.peer NAME API TOKENS``.

Says ``ready``, or what is missing; then for each line on standard input makes GETs and prints what one has cost in
microseconds of CPU. A program has one kind of session: with several in one process the interpreter, which specializes
its code for what it sees, would unlearn with each what it had learned with the one before.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings

from .peers import PEERS

#: GETs of one round, and before them some that do not count: other processes have used the processor's caches.
GETS = 100
WARMING = 10


def main(name: str, api: str, tokens: str) -> None:
    """Answer line by line until the input ends."""
    warnings.simplefilter("ignore")
    try:
        call = PEERS[name](api, tokens)[0]
    except ImportError as error:
        print(f"missing: {error}", flush=True)
        return
    for _ in range(GETS):
        call()
    gc.collect()
    print("ready", flush=True)
    for _ in sys.stdin:
        for _ in range(WARMING):
            call()
        start = time.process_time()
        for _ in range(GETS):
            call()
        print((time.process_time() - start) / GETS * 1e6, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
