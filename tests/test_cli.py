"""The command line: real processes where signals, pipes and missing extras matter, else the same code in this one."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from requests_cc_token import ClientCredentialsClient, __version__
from requests_cc_token.authentication.assertions import unverified_claims
from requests_cc_token.authentication.method import ClientAuthentication
from requests_cc_token.cli import app, demo_output
from requests_cc_token.cli.check import described
from requests_cc_token.config import CONFIG_VARIABLE
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tmp_path: Path, token_service: TokenService, api: ProtectedApi) -> Path:
    """A user's configuration: two clients and two sessions, the secret in a file."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET, encoding="utf-8")
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        [clients.first]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "worker"
        client_secret = {{ file = "{secret}" }}
        scope = "api"

        [clients.second]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "worker"
        client_secret = {{ env = "SECOND_SECRET" }}
        auth = "client_secret_post"

        [backchannel]
        max_tries = 1

        [sessions.main]
        base_url = "{api.base_url}"
        client = "first"

        [sessions.side]
        base_url = "{api.base_url}"
        client = "second"
        """
    )
    return path


@pytest.fixture(autouse=True)
def workers_end_with_their_test() -> Iterator[None]:
    """A demo that a second interrupt ends leaves its call to itself: what that still says is said here."""
    yield
    for thread in threading.enumerate():
        if thread.name == "worker":
            thread.join(60)


@contextlib.contextmanager
def program(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The program in a process of its own, killed if the block leaves it running."""
    with subprocess.Popen(
        [sys.executable, "-m", "requests_cc_token", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=60,
        check=False,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The line of the program's output that holds the text."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the program ended without saying {text!r}")


class TestDemo:
    def test_the_demo_runs_on_its_own(self) -> None:
        """Without a configuration, service and API start on loopback; calls and a summary are printed, exit code 0."""
        with program("demo", "--calls", "3", "--interval", "0.001") as process:
            out, err = process.communicate(timeout=60)

        assert process.returncode == 0
        assert err == ""
        lines = out.splitlines()
        assert lines[0].startswith("token service http://127.0.0.1:")
        assert [line.split()[1:3] for line in lines if "call " in line[:20]] == [["call", f"{i}:"] for i in (1, 2, 3)]
        assert "token of 'worker' requested" in out
        assert "token of 'worker' obtained" in out
        assert lines[-1] == "3 calls: 3 ok, 0 failed; 1 token request, 0 renewals in the background"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_is_the_way_to_end_a_demo_without_end(self, number: signal.Signals) -> None:
        """With --forever, an interrupt leads to the summary and exit code 0; so does SIGTERM."""
        with program("demo", "--forever", "--interval", "0.001") as process:
            read_until(process, "call 12: 200")
            process.send_signal(number)
            out, err = process.communicate(timeout=60)

        assert process.returncode == 0
        assert err == ""
        assert " ok, 0 failed; " in out.splitlines()[-1]

    def test_ctrl_c_before_the_last_call_is_an_interruption(self) -> None:
        """Ten thousand calls that were interrupted are not done: summary, exit code 130, no traceback."""
        with program("demo", "--calls", "10000", "--interval", "0.001") as process:
            read_until(process, "call 2: 200")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)

        assert process.returncode == 130
        assert err == ""
        assert " ok, 0 failed; " in out.splitlines()[-1]

    def test_an_interrupt_waits_for_the_call_under_way(self, config: Path, api: ProtectedApi) -> None:
        """A call that has begun is finished and counted before the program ends."""
        with api.hold(), program("demo", "--forever", "--config", config, "--session", "main") as process:
            api.wait_for_requests(1)
            process.send_signal(signal.SIGINT)
            read_until(process, "stopping after the call under way")
            api.gate.set()
            out, err = process.communicate(timeout=60)

        assert process.returncode == 0
        assert err == ""
        assert out.splitlines()[-1].startswith("1 call: 1 ok, 0 failed; 1 token request")

    def test_a_second_interrupt_ends_it_at_once(self, config: Path, api: ProtectedApi) -> None:
        """Who cannot wait for a call that hangs presses Ctrl-C again: exit code 130, no traceback."""
        with api.hold(), program("demo", "--forever", "--config", config, "--session", "main") as process:
            api.wait_for_requests(1)
            process.send_signal(signal.SIGINT)
            read_until(process, "stopping after the call under way")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)

        assert process.returncode == 130
        assert err.strip() == ""  # click ends the line on which the terminal shows ^C

    @pytest.mark.parametrize(
        ("options", "times", "code"), [(["--forever"], 1, 0), (["--calls", "10000"], 1, 130), (["--forever"], 2, 130)]
    )
    def test_interrupts_at_the_first_lines(
        self,
        options: list[str],
        times: int,
        code: int,
        config: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Ctrl-C once leads to the summary, twice to the end at once, wherever it comes; here while lines are shown.

        In this process, since one that a signal reaches from outside is not always measured to its end: coverage.py
        lost its way in 2 of 60.
        """
        interrupts = iter([signal.SIGINT] * times)
        shown = demo_output.Output.line

        def interrupted(output: Any, line: Any) -> None:
            for number in interrupts:
                signal.raise_signal(number)
            shown(output, line)

        monkeypatch.setattr(demo_output.Output, "line", interrupted)
        assert app.run(["demo", "--config", str(config), "--session", "main", "--interval", "0", *options]) == code
        assert next(interrupts, None) is None
        assert (" ok, 0 failed; " in capsys.readouterr().out.splitlines()[-1]) == (times == 1)

    def test_an_interrupt_that_is_ignored_stays_so(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A script's job in the background goes on when the script is interrupted, as the shell wants it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        shown = demo_output.Output.line

        def interrupted(output: Any, line: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            shown(output, line)

        monkeypatch.setattr(demo_output.Output, "line", interrupted)
        try:
            arguments = ["demo", "--config", str(config), "--session", "main", "--interval", "0", "--calls", "2"]
            assert app.run(arguments) == 0
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)
        assert "2 calls: 2 ok" in capsys.readouterr().out

    def test_a_third_interrupt_ends_what_is_stuck_in_printing(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where a line cannot be printed, nobody looks whether a second interrupt has come; a third one is an error."""

        def stuck(output: Any, line: Any) -> None:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            raise AssertionError("still there")

        monkeypatch.setattr(demo_output.Output, "line", stuck)
        assert app.run(["demo", "--config", str(config), "--session", "main", "--forever"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_a_reader_who_has_enough_ends_it(self) -> None:
        """When the pipe is closed, as by head, the program ends without a traceback."""
        with program("demo", "--forever", "--interval", "0.001") as process:
            read_until(process, "call 2: 200")
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(timeout=60) == 1

    def test_the_same_worker_runs_on_a_configuration(
        self, config: Path, token_service: TokenService, api: ProtectedApi, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With --config the user's own services are called, at the path that the user names."""
        arguments = ["--interval", "0", "--session", "main", "--path", "echo?a=1"]
        assert app.run(["demo", "--config", str(config), *arguments]) == 0

        assert [request.path for request in api.requests] == ["/api/echo"] * 10
        assert len(token_service.requests) == 1
        out = capsys.readouterr().out
        assert out.startswith(f"services of {config}\nsession 'main' calls {api.base_url}echo?a=1\n")
        assert out.splitlines()[-1].startswith("10 calls: 10 ok, 0 failed; 1 token request,")

    def test_the_configuration_may_come_before_the_command(self, config: Path, api: ProtectedApi) -> None:
        """As with the other commands; the environment's does not count."""
        assert app.run(["--config", str(config), "demo", "--calls", "1", "--session", "main"]) == 0
        assert len(api.requests) == 1

    def test_a_demo_with_failed_calls_fails(
        self, config: Path, api: ProtectedApi, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Exit code 1 says that not every call succeeded."""
        api.fail_next(500, "[bold]out of order[/bold]")
        assert app.run(["demo", "--config", str(config), "--session", "main", "--calls", "2", "--interval", "0"]) == 1

        out = capsys.readouterr().out
        assert "call 1: 500 [bold]out of order[/bold]" in out
        assert "2 calls: 1 ok, 1 failed;" in out

    @pytest.mark.parametrize("session", [[], ["--session", "nobody"]])
    def test_with_several_sessions_one_is_named(
        self, config: Path, session: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No name, or an unknown one, is an error that lists the names there are."""
        assert app.run(["demo", "--config", str(config), *session]) == 2

        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert "'main', 'side'" in captured.err

    def test_it_may_run_in_another_thread(self, config: Path) -> None:
        """A program that embeds the command line and has signals of its own keeps them."""
        codes: list[int] = []
        arguments = ["demo", "--config", str(config), "--session", "main", "--calls", "1"]
        thread = threading.Thread(target=lambda: codes.append(app.run(arguments)))
        thread.start()
        thread.join(60)

        assert codes == [0]

    def test_a_worker_that_breaks_is_no_success(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An error that nobody foresaw is shown by Python, and the exit code is 1."""
        shown: list[object] = []

        def hook(arguments: object) -> None:
            threading.Event().wait(0.05)  # the program ends after it, however long it takes
            shown.append(arguments)

        monkeypatch.setattr(threading, "excepthook", hook)
        arguments = ["demo", "--config", str(config), "--session", "main", "--path", "http://["]
        monkeypatch.setattr("requests_cc_token.demo.worker._gist", None)

        assert app.run([*arguments[:-2], "--calls", "1"]) == 1
        assert len(shown) == 1
        assert "failed" not in capsys.readouterr().out


class TestToken:
    def test_a_token_is_printed_for_scripts(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The token of the named client, one line and nothing else."""
        assert app.run(["token", "first", "--config", str(config)]) == 0

        captured = capsys.readouterr()
        assert captured.err == ""
        assert captured.out == token_service.tokens[-1].value + "\n"

    def test_the_header_line_is_printed_if_asked(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--header gives what curl -H takes."""
        assert app.run(["token", "first", "--header", "--config", str(config)]) == 0
        assert capsys.readouterr().out == f"Authorization: Bearer {token_service.tokens[-1].value}\n"

    def test_the_configuration_may_come_from_the_environment(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without --config the environment variable names the file; so may a secret come."""
        monkeypatch.setenv(CONFIG_VARIABLE, str(config))
        monkeypatch.setenv("SECOND_SECRET", SECRET)
        assert app.run(["token", "second"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1

    def test_what_is_known_of_it_as_json(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--json gives the token and its terms, with documented keys."""
        assert app.run(["token", "first", "--json", "--config", str(config)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert set(told) == {"access_token", "token_type", "scope", "expires_at", "expires_in"}
        assert told["access_token"] == token_service.tokens[-1].value
        assert (told["token_type"], told["scope"]) == ("Bearer", "api")
        assert 0 < told["expires_in"] <= 3600

    def test_the_claims_of_a_jwt(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--claims shows what the API will read, and not the token; one that is no JWT cannot be read."""
        claims = {"iss": "https://issuer.example", "scope": "api"}
        part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        token_service.fail_next(200, {"access_token": f"e30.{part}.c2ln", "token_type": "Bearer", "expires_in": 60})
        assert app.run(["token", "first", "--claims", "--config", str(config)]) == 0
        out = capsys.readouterr().out
        assert json.loads(out) == claims
        assert part not in out
        assert app.run(["token", "first", "--claims", "--config", str(config)]) == 1
        assert "the token is no JWT" in capsys.readouterr().err

    @pytest.mark.parametrize("value", ["e30.!.c2ln", "e30.e3.c2ln", "e30.WzFd.c2ln", "a.b", f"e30.{'W' * 20_000}.x"])
    def test_what_looks_like_a_jwt(self, value: str) -> None:
        """And is none, has no claims."""
        assert unverified_claims(value) is None

    def test_one_form_only(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """--header, --json and --claims exclude each other."""
        assert app.run(["token", "first", "--json", "--claims", "--config", str(config)]) == 2
        assert "exclude each other" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nobody"], "'first', 'second'"),
            ([], "'first', 'second'"),
            (["second"], "SECOND_SECRET"),
        ],
    )
    def test_errors_are_one_line_and_exit_code_2(
        self, config: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An unknown client, no client of several, a secret that is not there: each is said in one line."""
        assert app.run(["token", *arguments, "--config", str(config)]) == 2

        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("requests-cc-token: ")
        assert said in captured.err

    def test_an_error_of_the_token_service_is_one_line(self, config: Path, token_service: TokenService) -> None:
        """A real process says what the service said, on standard error alone, and nothing of the secret."""
        token_service.fail_always(400, {"error": "invalid_scope", "error_description": "no\nsuch\x1b[31m scope"})
        with program("token", "first", "--config", config) as process:
            out, err = process.communicate(timeout=60)

        assert process.returncode == 3
        assert out == ""
        assert err.count("\n") == 1
        assert "invalid_scope" in err
        assert "\x1b" not in err
        assert SECRET not in err

    def test_waiting_can_be_bounded(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """--timeout ends the wait for a token service that hangs."""
        with token_service.hold():
            assert app.run(["token", "first", "--timeout", "0.01", "--config", str(config)]) == 4
        assert capsys.readouterr().err.count("\n") == 1

    def test_ctrl_c_ends_the_wait(self, config: Path, token_service: TokenService) -> None:
        """An interrupt while the token service hangs: exit code 130, no traceback."""
        with token_service.hold(), program("token", "first", "--config", config) as process:
            token_service.wait_for_requests(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)

        assert (process.returncode, out, err.strip()) == (130, "", "")

    def test_a_closed_pipe_is_no_traceback(self, config: Path, token_service: TokenService) -> None:
        """When nobody reads the token any more, the program fails quietly."""
        with token_service.hold(), program("token", "first", "--config", config) as process:
            token_service.wait_for_requests(1)
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            token_service.gate.set()
            assert process.stderr.read() == ""
            assert process.wait(timeout=60) == 1

    @pytest.mark.parametrize("arguments", [[], ["--config", "no such file"]])
    def test_a_missing_configuration_is_said(
        self, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No configuration at all, or a file that is not there, is one line that says what to do or what is wrong."""
        monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
        assert app.run(["token", "first", *arguments]) == 2

        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert ("no such file" in err) if arguments else (CONFIG_VARIABLE in err)


class TestCheck:
    def test_a_configuration_is_listed_without_secrets(
        self,
        config: Path,
        token_service: TokenService,
        api: ProtectedApi,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Clients and sessions are listed, nothing is sent, and no secret is shown."""
        monkeypatch.setenv("SECOND_SECRET", SECRET)
        assert app.run(["check", "--config", str(config)]) == 0

        out = capsys.readouterr().out
        listed = [line.partition(":")[0].split() for line in out.splitlines()]
        assert [words[1:] for words in listed if words[0] == "ok"] == [
            ["client", "first"],
            ["client", "second"],
            ["session", "main"],
            ["session", "side"],
        ]
        assert token_service.token_endpoint in out
        assert SECRET not in out
        assert (token_service.requests, api.requests) == ([], [])

    def test_one_client_need_not_be_named_by_its_session(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A session without a client uses the only one."""
        path = tmp_path / "config.toml"
        path.write_text(
            """
            [clients.only]
            token_endpoint = "https://token.test/"
            client_id = "id"
            client_secret = "in the file"
            [sessions.main]
            base_url = "https://api.test/"
            """
        )
        assert app.run(["check", "--config", str(path)]) == 0
        out = capsys.readouterr().out
        assert "no scope" in out
        assert "session main: https://api.test/, the only client\n" in out
        assert "in the file" not in out

    def test_a_client_may_do_without_a_secret(self) -> None:
        """A client that authenticates in another way is described without one."""

        class ByCertificate(ClientAuthentication):
            method = "tls_client_auth"

        client = ClientCredentialsClient(
            "name", issuer="https://issuer.test", client_id="id", scope=("a", "b"), auth=ByCertificate()
        )
        assert described(client) == "https://issuer.test, id id, tls_client_auth, scope a b"

    def test_a_session_of_an_unknown_client_is_found(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A session that names a client which is not there fails the check."""
        monkeypatch.setenv("SECOND_SECRET", SECRET)
        config.write_text(config.read_text().replace('client = "second"', 'client = "third"'))
        assert app.run(["check", "--config", str(config)]) == 2
        assert "problem  session side: no token client is named 'third'" in capsys.readouterr().out

    def test_a_secret_that_is_not_there_is_found(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A secret's environment variable that is not set fails the check, by name."""
        assert app.run(["check", "--config", str(config)]) == 2
        assert "SECOND_SECRET" in capsys.readouterr().out


class TestProgram:
    def test_the_version_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        """--version gives the version of the package."""
        assert app.run(["--version"]) == 0
        assert __version__ in capsys.readouterr().out

    def test_each_option_has_a_variable_of_its_name(self) -> None:
        """The help names it, and it is made of the command and the flag that users know."""

        def walk(command: Any, path: str) -> Iterator[tuple[str, str]]:
            for parameter in command.params:
                flag = max(parameter.opts, key=len)
                if flag.startswith("--") and parameter.expose_value and flag not in ("--config", "--version", "--help"):
                    assert parameter.show_envvar, flag
                    yield flag, f"{path}_{parameter.name}".upper()
            for name, inner in getattr(command, "commands", {}).items():
                yield from walk(inner, f"{path}_{name}")

        found = list(walk(app.commands, "REQUESTS_CC_TOKEN"))
        assert len(found) > 20
        for flag, variable in found:
            assert variable.endswith((flag.lstrip("-").upper().replace("-", "_"), "_HEADERS")), variable

    def test_a_wrong_usage_is_exit_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An unknown command or option shows the usage."""
        assert app.run(["tokens"]) == 2
        assert "Usage: requests-cc-token" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["-q", "-v", "check"], "-q and -v exclude each other"),
            (["check", "--path", "x"], "--path goes with --session"),
            (["check", "--live", "--path", "x"], "--path goes with --session"),
            (["check", "--session", "main"], "--session goes with --live"),
            (["demo", "--calls", "3", "--forever"], "--calls and --forever exclude each other"),
            (["keys", "new", "no-such-folder/key.pem", "--days", "3"], "--days goes with --certificate"),
        ],
    )
    def test_an_option_that_would_do_nothing(
        self, arguments: list[str], said: str, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Is wrong usage where it is on the command line."""
        assert app.run(["--config", str(config), *arguments]) == 2
        assert said in capsys.readouterr().err

    @pytest.mark.parametrize("command", [["token", "--timeout"], ["demo", "--interval"]])
    @pytest.mark.parametrize("seconds", ["nan", "inf"])
    def test_what_is_no_length_of_time(
        self, command: list[str], seconds: str, config: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Is wrong usage: a limit that is not a number would be none."""
        assert app.run(["--config", str(config), *command, seconds]) == 2
        assert f"'{seconds}' is no length of time" in capsys.readouterr().err

    def test_a_variable_contradicts_nothing(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is set once for all commands is for those that it means something to."""
        monkeypatch.setenv("SECOND_SECRET", SECRET)
        monkeypatch.setenv("REQUESTS_CC_TOKEN_CHECK_PATH", "health")
        monkeypatch.setenv("REQUESTS_CC_TOKEN_QUIET", "1")
        assert app.run(["--config", str(config), "-v", "check"]) == 0

    def test_help_names_the_environment_variable(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The help of an option that the environment can give names the variable."""
        assert app.run(["token", "--help"]) == 0
        assert CONFIG_VARIABLE in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("module", "command", "extra"),
        [
            ("click", "token", "cli"),
            ("rich", "demo", "cli"),
            ("flask", "demo", "demo"),
            ("authlib", "demo", "demo"),
        ],
    )
    def test_a_missing_extra_is_named(self, module: str, command: str, extra: str) -> None:
        """Without what a command needs, one line says which extra to install, and the exit code is 2."""
        ran = python(
            "import sys; sys.modules[sys.argv[1]] = None; sys.argv[1:] = sys.argv[2:]\n"
            "from requests_cc_token.__main__ import main; sys.exit(main())",
            module,
            command,
        )

        assert ran.returncode == 2
        assert ran.stderr.count("\n") == 1
        assert f"pip install 'requests_cc_token[{extra}]'" in ran.stderr

    @pytest.mark.parametrize(("flag", "said"), [("--version", __version__), ("--help", "requests_cc_token[cli]")])
    def test_version_and_help_need_no_extra(self, flag: str, said: str) -> None:
        """In a bare install version and help are told all the same, with exit code 0."""
        ran = python(
            "import sys; sys.modules['click'] = None\n"
            "from requests_cc_token.__main__ import main; sys.exit(main())",
            flag,
        )

        assert (ran.returncode, ran.stderr) == (0, "")
        assert said in ran.stdout

    def test_an_import_error_of_another_kind_is_not_hidden(self) -> None:
        """A broken installation shows where it is broken."""
        ran = python(
            "import sys; sys.modules['cachetools'] = None; sys.argv[1:] = ['token', '--config', sys.argv[1]]\n"
            "import requests_cc_token\n"
            "from requests_cc_token.__main__ import main; sys.exit(main())",
            ROOT / "docs" / "samples" / "worker.toml",
        )

        assert "cachetools" in ran.stderr.splitlines()[-1]

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_a_terminal_that_lacks_a_character(self, config: Path, api: ProtectedApi, encoding: str) -> None:
        """What others say is shown as far as the terminal can, and escaped beyond that."""
        api.fail_always(200, "\u017e\u20ac")
        ran = python(
            f"import sys; sys.stdout.reconfigure(encoding={encoding!r})\n"
            "from requests_cc_token.__main__ import main; sys.exit(main())",
            *("demo", "--config", config, "--session", "main", "--calls", "1"),
        )

        assert (ran.returncode, ran.stderr) == (0, "")
        assert "call 1: 200 \\u017e\\u20ac\n" in ran.stdout

    @pytest.mark.parametrize("command", [["token", "first"], ["request", "main", "test"]])
    def test_a_standard_output_that_is_closed(self, config: Path, command: list[str]) -> None:
        """Prints nothing, and is no failure."""
        ran = subprocess.run(
            [
                *("sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "requests_cc_token"),
                *("--config", str(config), *command),
            ],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            timeout=60,
            check=False,
        )

        assert (ran.returncode, ran.stderr) == (0, b"")

    def test_a_standard_output_that_is_replaced(self) -> None:
        """A program that calls the command line may take what it prints."""
        ran = python(
            "import contextlib, io, sys; from requests_cc_token.__main__ import main\n"
            "with contextlib.redirect_stdout(io.StringIO()) as said: code = main()\n"
            "print(said.getvalue().upper()); sys.exit(code)",
            "--version",
        )

        assert (ran.returncode, ran.stderr) == (0, "")
        assert "REQUESTS-CC-TOKEN, VERSION" in ran.stdout

    def test_an_interrupt_while_starting_is_no_traceback(self) -> None:
        """Ctrl-C before the command line is even loaded ends the program with 130."""
        ran = python(
            "import sys, types\n"
            "class Interrupted(types.ModuleType):\n"
            "    def __getattr__(self, name):\n"
            "        raise KeyboardInterrupt\n"
            "sys.modules['requests_cc_token.cli.app'] = Interrupted('app')\n"
            "from requests_cc_token.__main__ import main; sys.exit(main())"
        )

        assert (ran.returncode, ran.stderr) == (130, "")

    def test_the_services_are_loaded_for_the_embedded_demo_only(self, config: Path) -> None:
        """Neither Flask nor Authlib is imported where the user's own services are called."""
        ran = python(
            "import sys; from requests_cc_token.__main__ import main; code = main()\n"
            "sys.exit(code or bool({'flask', 'authlib', 'werkzeug'} & set(sys.modules)))",
            *("demo", "--config", config, "--session", "main", "--calls", "1"),
        )

        assert (ran.returncode, ran.stderr) == (0, "")
