"""``python -m requests_cc_token.testing``: a fake token service and an API to point a worker at, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import suppress

from . import FakeApi, FakeTokenService

#: What a worker needs, to be copied.
CONFIGURATION = """\
# worker.toml, for as long as this runs; and: export M2M_SECRET={secret}
[clients.worker]
token_endpoint = "{token_endpoint}"
client_id = "{client_id}"
client_secret = {{ env = "M2M_SECRET" }}

[sessions.client]
base_url = "{base_url}"
client = "worker"
# end
"""


def main() -> int:
    """Print the configuration of a worker, and serve it."""
    argparse.ArgumentParser(prog="python -m requests_cc_token.testing", description=main.__doc__).parse_args()
    with FakeTokenService() as tokens, FakeApi(tokens) as api:
        print(
            CONFIGURATION.format(
                secret=tokens.client_secret,
                token_endpoint=tokens.token_endpoint,
                client_id=tokens.client_id,
                base_url=api.base_url,
            ),
            flush=True,
        )
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":  # pragma: no branch - it is run, and imported by nobody
    sys.exit(main())
