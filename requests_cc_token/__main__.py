"""What runs as ``requests-cc-token`` and as ``python -m requests_cc_token``."""

from __future__ import annotations

import sys

#: What each extra brings, by the names under which it is imported.
_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "authlib": "demo",
    "flask": "demo",
    "werkzeug": "demo",
}


def main() -> int:
    """Run the command line; the exit code. A missing extra is one line on standard error and exit code 1."""
    try:
        from .cli import run

        return run()
    except ImportError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(  # noqa: T201 - click may be what is missing
            f"requests-cc-token: {error.name} is not installed: pip install 'requests_cc_token[{extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
