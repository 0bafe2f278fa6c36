"""``keys``: key pairs for those who sign or are known by a certificate."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from requests_cc_token import PrivateKeyJwt
from requests_cc_token.authentication.certificate import ClientCertificate
from requests_cc_token.cli.app import run


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], str]:
    """The one key of the JWKS, and the rest."""
    document, end = json.JSONDecoder().raw_decode(text := capsys.readouterr().out)
    (key,) = document["keys"]
    return key, text[end:]


@pytest.mark.parametrize(("kind", "said"), [("EC", "P-256"), ("RSA", None), ("OKP", "Ed25519")])
def test_a_new_key(kind: str, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The private part in a file for its owner only, the public part printed; what signs takes the file as it is."""
    path = tmp_path / "key.pem"
    before = os.umask(0)
    try:
        assert run(["keys", "new", str(path), "--kind", kind]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made, rest = printed(capsys)
    assert (made["kty"], made.get("crv"), made["use"]) == (kind, said, "sig")
    assert "-----BEGIN PUBLIC KEY-----" in rest
    assert rest.splitlines()[-1] == f"thumbprint (RFC 7638): {made['kid']}"
    assert "d" not in made
    assert "PRIVATE" not in rest
    PrivateKeyJwt({"file": path})
    assert run(["keys", "show", str(path)]) == 0
    assert printed(capsys) == (made, rest)


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the public part, in both commands; nothing private."""
    path = tmp_path / "key.pem"
    assert run(["keys", "new", str(path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"jwks", "pem", "thumbprint", "certificate"}
    assert made["certificate"] is None
    assert made["jwks"]["keys"][0]["kid"] == made["thumbprint"]
    assert "d" not in made["jwks"]["keys"][0]
    assert made["pem"].startswith("-----BEGIN PUBLIC KEY-----")
    assert run(["keys", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made


@pytest.mark.parametrize("kind", ["EC", "RSA", "OKP"])
def test_a_key_with_a_certificate(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are in one file, which is taken for signing and for mutual TLS; shown is what token services ask for."""
    path = tmp_path / "worker.pem"
    assert run(["keys", "new", str(path), "--kind", kind, "--certificate", "worker", "--days", "10", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert "PRIVATE" not in made["certificate"]["pem"]
    assert len(made["certificate"]["sha1"]) == 40
    assert 9 * 86_400 < made["certificate"]["expires_at"] - time.time() < 11 * 86_400
    loaded = ClientCertificate(path).current()
    assert loaded.thumbprint == made["certificate"]["x5t#S256"]
    PrivateKeyJwt({"file": path})
    assert run(["keys", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made
    assert run(["keys", "show", str(path)]) == 0
    out = capsys.readouterr().out
    assert made["certificate"]["pem"] in out
    assert f"certificate, SHA-1: {made['certificate']['sha1']}\n" in out
    ends = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made["certificate"]["expires_at"]))
    assert out.endswith(f"certificate, ends: {ends}\n")
    assert "PRIVATE" not in out


def test_the_certificate_of_the_key_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not that of an authority before it; and where there are only those of other keys, that is said."""
    other, own, both, wrong = (tmp_path / name for name in ("other.pem", "own.pem", "both.pem", "wrong.pem"))
    for path in (other, own):
        assert run(["keys", "new", str(path), "--certificate", "worker", "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
    foreign = other.read_bytes().partition(b"-----BEGIN CERTIFICATE")[1:]
    both.write_bytes(b"".join(foreign) + own.read_bytes())
    assert run(["keys", "show", str(both), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made
    wrong.write_bytes(own.read_bytes().partition(b"-----BEGIN CERTIFICATE")[0] + b"".join(foreign))
    assert run(["keys", "show", str(wrong)]) == 2
    assert f"{wrong}: the certificate in it is that of another key" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_that_no_certificate_has(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is wrong usage, and no key is written."""
    assert run(["keys", "new", str(tmp_path / "key.pem"), "--certificate", name]) == 2
    assert "1 to 64 characters" in capsys.readouterr().err
    assert not (tmp_path / "key.pem").exists()


def test_a_key_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in the file stays."""
    path = tmp_path / "key.pem"
    path.write_text("the old one")
    assert run(["keys", "new", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "the old one"


def test_what_is_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2; the content is not shown."""
    path = tmp_path / "key.pem"
    path.write_text("T41NT")
    assert run(["keys", "show", str(path)]) == 2
    err = capsys.readouterr().err
    assert "holds no key" in err
    assert "T41NT" not in err
