"""A block in which no pause takes time, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from requests_cc_token.retry_delays import skipped


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Within the block no pause takes any time, in any thread of this process and for every management.

    These are the pauses between the tries of a token request, those that a token service asks for by ``Retry-After``,
    the time after a failure in which nobody asks again, and that between two renewals after refusals by the API. The
    number of tries stays as configured.
    """
    with skipped():
        yield
