"""Many processes that ask for a token at one moment: python -m tests.fleet.crowd COUNT CONFIG

The modules are imported once, then the processes are forked, each with a cache and a management of its own. Says
``ready``, waits for a line, lets them go; then one line from each, ``token FINGERPRINT`` or ``failed ERROR``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from requests_cc_token.demand import Demand

from .member import WatchedCache, get_token, make_cache, make_management, say


def run(config: dict[str, Any], gate: int) -> None:
    management = make_management(config, WatchedCache(make_cache(config)))
    os.read(gate, 1)
    try:
        say(f"token {get_token(management)}")
    except Exception as error:
        say(f"failed {error!r}")


def main(count: int, config: dict[str, Any]) -> None:
    with make_management(config, make_cache(config)) as management:
        # What a management imports is there before the fork, not once for each child. The slow hash of the secret too,
        # where asked for: it takes 60 ms of a processor, and tests of the store are about something else.
        if config.get("hash_once"):
            Demand.of(management.clients["worker"]).stored_key()
    gate, opening = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(opening)
            run(config, gate)
            os._exit(0)
        children.append(child)
    say("ready")
    sys.stdin.readline()
    os.close(opening)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
