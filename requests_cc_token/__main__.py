"""What runs as ``requests-cc-token`` and as ``python -m requests_cc_token``."""

from __future__ import annotations

import io
import os
import sys

#: What each extra brings, by the names under which it is imported.
_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "authlib": "demo",
    "flask": "demo",
    "joserfc": "jose",
    "cryptography": "jose",
    "werkzeug": "demo",
}


def main() -> int:
    """Run the command line; the exit code. A missing extra is one line on standard error and exit code 2.

    Without click there is no command line, but version and help are told all the same.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error has it: answers of others hold characters that not every terminal can show.
        sys.stdout.reconfigure(errors="backslashreplace")
    elif sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open until the end
    try:
        from .cli.app import run

        return run()
    except ImportError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        if extra == "cli" and set(sys.argv[1:]) & {"--version", "--help", "-h"}:
            print(_in_short(sys.argv[1:]))  # noqa: T201 - click is what is missing
            return 0
        print(  # noqa: T201 - click may be what is missing
            f"requests-cc-token: {error.name} is not installed: pip install 'requests_cc_token[{extra}]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def _in_short(arguments: list[str]) -> str:
    from . import __version__

    if "--version" in arguments:
        return f"requests-cc-token, version {__version__}"
    return (
        "Usage: requests-cc-token COMMAND\n\n"
        "The commands need an extra: pip install 'requests_cc_token[cli]', or [demo] for the demo."
    )


if __name__ == "__main__":
    sys.exit(main())
