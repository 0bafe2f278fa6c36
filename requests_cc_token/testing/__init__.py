"""Tools for tests of programs that use this package. Nothing here needs an extra; of the package only the demo uses it.

=========================================  ==========================================================================
`FakeTokenService`                         a token service on loopback that a test steers and counts
`FakeApi`                                  an API on loopback that takes the tokens of that service
`ManualClock`                              a clock that stands still until it is moved
`no_waiting`                               no pause between tries, and none after failures
`TokenCacheContract`,                      what a token cache must do, as tests for pytest
`SharedTokenCacheContract`
=========================================  ==========================================================================

With pytest the fixtures ``token_service``, ``token_clock`` and ``fake_api`` are there without an import.
"""

from .cache_contract import SharedTokenCacheContract, TokenCacheContract
from .fake_api import ApiRequest, FakeApi
from .fake_token_service import FakeToken, FakeTokenService, TokenRequest
from .manual_clock import ManualClock
from .no_waiting import no_waiting

__all__ = [
    "ApiRequest",
    "FakeApi",
    "FakeToken",
    "FakeTokenService",
    "ManualClock",
    "SharedTokenCacheContract",
    "TokenCacheContract",
    "TokenRequest",
    "no_waiting",
]
