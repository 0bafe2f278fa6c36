"""What a configuration's files look like: there, readable, by whom, until when."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from requests_cc_token.watched_files import UnusableFileError, read_regular

from .outcome import Exit
from .report import Finding

#: Days before the end of a certificate from which on it is warned of: a month is what authorities give.
WARN_DAYS = 30

#: ``url`` is that of a store, which may hold a password.
_SECRETS = frozenset("client_secret password key assertion source subject_token actor_token url".split())


def judged_files(about: str, entry: Mapping[str, Any], folder: Path, told: Collection[str] = ()) -> Iterator[Finding]:
    """What there is to say of the files that an entry names, and was not ``told`` already."""
    for key, path, is_secret in _files(entry, folder):
        try:
            content = read_regular(path)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            if not any(str(path) in fault for fault in told):
                yield Finding("problem", about, f"{key}: {path}: {reason}", exit_code=Exit.CONFIGURATION)
            continue
        except UnusableFileError as error:
            # A pipe, say, which gives its secret to one reader only.
            yield Finding("warning", about, f"{key}: {path}: {error}, so it was not looked at")
            continue
        private = is_secret or b"PRIVATE KEY-----" in content
        mode = stat.S_IMODE(path.stat().st_mode)
        if private and os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            text = f"{key}: others than its owner may use {path} (mode {mode:04o})"
            yield Finding("warning", about, text, f"chmod 600 {path}")
        yield from _judged_certificates(about, f"{key}: {path}", content)


def _files(entry: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """Each key with a file, and whether what is in it is secret."""
    for key, value in entry.items():
        if isinstance(value, Mapping) and isinstance(value.get("file"), str):
            yield key, folder / value["file"], key in _SECRETS
        elif isinstance(value, Mapping):
            yield from _files(value, folder)
        elif key in ("cert", "certificate"):
            paths = value if isinstance(value, list) else [value]
            yield from ((key, folder / path, False) for path in paths if isinstance(path, str))
        elif isinstance(value, list):
            yield from chain.from_iterable(_files({key: each}, folder) for each in value)


def _judged_certificates(about: str, what: str, content: bytes) -> Iterator[Finding]:
    for expiry in certificate_expiries(content):
        days = (expiry - time.time()) / 86_400
        if days < 0:
            text = f"{what}: the certificate ended {-days:.0f} days ago"
            yield Finding("problem", about, text, "replace it", exit_code=Exit.CONFIGURATION)
        elif days < WARN_DAYS:
            yield Finding("warning", about, f"{what}: the certificate ends in {days:.0f} days", "replace it in time")


def certificate_expiries(content: bytes) -> list[float]:
    """When the certificates of a PEM file end, in seconds since the epoch; of one that is none, nothing."""
    ends = []
    for block in content.decode("ascii", "replace").split("-----BEGIN CERTIFICATE-----")[1:]:
        pem = f"-----BEGIN CERTIFICATE-----{block.partition('-----END CERTIFICATE-----')[0]}-----END CERTIFICATE-----\n"
        end = _end_of(pem)
        if end is not None:
            ends.append(end)
    return ends


def _end_of(pem: str) -> float | None:
    try:
        from cryptography import x509
    except ImportError:
        return None  # the extra jose has it; without it, dates are not judged
    try:
        return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()
    except ValueError:
        return None
