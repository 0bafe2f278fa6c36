"""TLS contexts follow the files that they are made of, and are shared while those do not change."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from requests_cc_token import tls_contexts
from requests_cc_token.tls_contexts import FollowedContext, TLSContexts

from .forked import in_child

#: Seconds: a file that old shows its next change in its stamp.
OLD = 3600


def write(path: Path, content: bytes, *, age: float = OLD) -> None:
    """Replace a file as a rotation does, such that it was last written so many seconds ago."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.utime(new, (time.time() - age, time.time() - age))
    new.replace(path)


def pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


def authorities(context: ssl.SSLContext) -> set[bytes]:
    return set(context.get_ca_certs(binary_form=True))


def in_der(*given: trustme.CA) -> set[bytes]:
    return {ssl.PEM_cert_to_DER_cert(pem(authority).decode()) for authority in given}


@pytest.fixture(scope="module")
def old() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def new() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("age", [0, OLD])
def test_an_authority_that_is_withdrawn_is_trusted_no_more(
    tmp_path: Path, old: trustme.CA, new: trustme.CA, age: float
) -> None:
    """The next context has what the bundle holds now and nothing else, however young the file is."""
    bundle, contexts = tmp_path / "ca.pem", TLSContexts()
    write(bundle, pem(old) + pem(new), age=age)
    first = contexts.get(str(bundle))
    assert contexts.get(str(bundle)) is first
    assert authorities(first) == in_der(old, new)
    write(bundle, pem(new), age=age)
    second = contexts.get(str(bundle))
    assert second is not first
    assert authorities(second) == in_der(new)


def test_two_writes_within_a_tick_are_told_apart(tmp_path: Path, old: trustme.CA, new: trustme.CA) -> None:
    """A file that is young is compared by what is in it, since its stamp may be that of the write before."""
    bundle = tmp_path / "ca.pem"
    longest = max(len(pem(old)), len(pem(new)))
    contents = [pem(each).ljust(longest, b"\n") for each in (old, new)]
    bundle.write_bytes(contents[0])
    stamp = bundle.stat()
    followed = FollowedContext(lambda: loaded(bundle), [bundle], "the bundle")
    first = followed.get()
    assert followed.get() is first, "read again, found the same"
    bundle.write_bytes(contents[1])
    os.utime(bundle, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert authorities(followed.get()) == in_der(new)


def loaded(bundle: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return context


def test_a_folder_of_authorities_is_followed(tmp_path: Path, old: trustme.CA, new: trustme.CA) -> None:
    """What comes into a folder, leaves it, or is replaced in it makes for a new context."""
    folder, contexts = tmp_path / "certs", TLSContexts()
    (folder / "of somebody's").mkdir(parents=True)
    write(folder / "old.pem", pem(old))
    settle(folder)
    seen = [contexts.get(str(folder))]
    assert contexts.get(str(folder)) is seen[0]
    write(folder / "new.pem", pem(new))
    seen.append(contexts.get(str(folder)))
    write(folder / "old.pem", pem(new))
    seen.append(contexts.get(str(folder)))
    (folder / "new.pem").unlink()
    seen.append(contexts.get(str(folder)))
    assert len(set(map(id, seen))) == 4
    settle(folder)
    assert contexts.get(str(folder)) is seen[-1]


def settle(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - OLD, time.time() - OLD))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA", None], ids=["empty", "half", "gone"])
def test_a_rotation_halfway(
    tmp_path: Path, old: trustme.CA, new: trustme.CA, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """While the bundle is no good the context from before is used, and one warning says so."""
    bundle, contexts = tmp_path / "ca.pem", TLSContexts()
    write(bundle, pem(old))
    first = contexts.get(str(bundle))
    if content is None:
        bundle.unlink()
    else:
        write(bundle, content)
    with caplog.at_level(logging.WARNING):
        assert contexts.get(str(bundle)) is contexts.get(str(bundle)) is first
    (warning,) = caplog.messages
    assert warning.startswith(f"the CA bundle '{bundle}': ")
    assert warning.endswith("; going on with what was read before")
    write(bundle, pem(new))
    assert authorities(contexts.get(str(bundle))) == in_der(new)


def test_a_bundle_that_never_was_there(tmp_path: Path) -> None:
    """It is the error that requests raises, for each connection."""
    contexts = TLSContexts()
    for _ in range(2):
        with pytest.raises(OSError, match="Could not find a suitable TLS CA certificate bundle, invalid path: "):
            contexts.get(str(tmp_path / "none.pem"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_bundle_that_is_a_pipe(tmp_path: Path, old: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused at once; in the place of a good one, that goes on; in a folder of authorities it is none."""
    bundle, folder, contexts = tmp_path / "ca.pem", tmp_path / "authorities", TLSContexts()
    os.mkfifo(bundle)
    for _ in range(2):
        with pytest.raises(OSError, match=r"it is no regular file: .*ca\.pem"):
            contexts.get(str(bundle))
    bundle.unlink()
    write(bundle, pem(old))
    good = contexts.get(str(bundle))
    bundle.unlink()
    os.mkfifo(bundle)
    assert contexts.get(str(bundle)) is good
    assert caplog.messages == [
        f"the CA bundle '{bundle}': it is no regular file; going on with what was read before"
    ]
    folder.mkdir()
    os.mkfifo(folder / "0123abcd.0")
    assert authorities(contexts.get(str(folder))) == set()


def test_an_authority_that_may_not_be_read(
    tmp_path: Path, old: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a folder is left out, as OpenSSL leaves it out."""
    (tmp_path / "secret.pem").write_bytes(pem(old))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    contexts = TLSContexts()
    assert contexts.get(str(tmp_path)) is contexts.get(str(tmp_path))


def test_verify_as_requests_has_it() -> None:
    """True is requests' own bundle; False verifies nothing; each has a context of its own."""
    contexts = TLSContexts()
    usual, none = contexts.get(True), contexts.get(False)
    assert usual.verify_mode == ssl.CERT_REQUIRED
    assert usual.check_hostname
    assert authorities(usual) == authorities(loaded(Path(DEFAULT_CA_BUNDLE_PATH)))
    assert (none.verify_mode, none.check_hostname) == (ssl.CERT_NONE, False)
    assert authorities(none) == set()
    assert contexts.get(False) is none


def test_contexts_are_bounded(tmp_path: Path, old: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used goes first."""
    monkeypatch.setattr(tls_contexts, "MAX_CONTEXTS", 2)
    contexts = TLSContexts()
    places = [str(tmp_path / f"{number}.pem") for number in range(3)]
    for place in places:
        write(Path(place), pem(old))
    first, second = (contexts.get(place) for place in places[:2])
    assert contexts.get(places[0]) is first
    contexts.get(places[2])
    assert contexts.get(places[0]) is first
    assert contexts.get(places[1]) is not second


def test_a_forked_child_makes_its_own(tmp_path: Path, old: trustme.CA) -> None:
    """A thread of the parent may hold a lock, ours or one of OpenSSL, at the moment of the fork."""
    bundle, contexts = tmp_path / "ca.pem", TLSContexts()
    write(bundle, pem(old))
    context = contexts.get(str(bundle))
    followed = FollowedContext(lambda: loaded(bundle), [bundle], "the bundle")
    own = followed.get()

    def check() -> None:
        assert contexts.get(str(bundle)) is not context
        assert followed.get() is not own

    with contexts._lock, followed._lock:
        in_child(check)
    assert contexts.get(str(bundle)) is context


def test_what_a_child_does_makes_another(tmp_path: Path, old: trustme.CA) -> None:
    """The step of a child, without one: a context that is made anew, under a lock that nobody holds."""
    bundle = tmp_path / "ca.pem"
    write(bundle, pem(old))
    contexts = TLSContexts()
    followed = FollowedContext(lambda: loaded(bundle), [bundle], "the bundle")
    owners: list[tuple[TLSContexts | FollowedContext, Callable[[], ssl.SSLContext]]] = [
        (contexts, lambda: contexts.get(str(bundle))),
        (followed, followed.get),
    ]
    for owner, get in owners:
        before = get()
        with owner._lock:
            owner.after_fork_in_child()
            assert get() is not before
        assert get() is get()


def test_what_all_have_in_common_is_made_for_each(tmp_path: Path, old: trustme.CA) -> None:
    """A client certificate, for example: ``base`` is asked once for each context."""
    made: list[ssl.SSLContext] = []

    def base() -> ssl.SSLContext:
        made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return made[-1]

    make: Callable[[], ssl.SSLContext] = base
    contexts = TLSContexts(make)
    bundle = tmp_path / "ca.pem"
    write(bundle, pem(old))
    assert [contexts.get(False), contexts.get(str(bundle)), contexts.get(False)] == [made[0], made[1], made[0]]


def test_what_is_no_good_twice_is_told_once(
    tmp_path: Path, old: trustme.CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bundle that is looked at anew, as it changed a moment ago, and is still no good has had its warning."""
    monkeypatch.setattr("requests_cc_token.tls_contexts.is_settled", lambda stamp: False)
    bundle, contexts = tmp_path / "ca.pem", TLSContexts()
    write(bundle, pem(old))
    first = contexts.get(str(bundle))
    write(bundle, b"no certificates")
    with caplog.at_level(logging.WARNING):
        assert contexts.get(str(bundle)) is contexts.get(str(bundle)) is first
    assert len(caplog.messages) == 1
