"""R4: sessions and adapters travel to another process by reference, or refuse with one clear sentence.

Real processes: `multiprocessing` spawn and `concurrent.futures`; and the ways in which joblib and Dask pickle.
"""

from __future__ import annotations

import concurrent.futures
import copy
import copyreg
import hashlib
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

import requests_cc_token
from requests_cc_token import AccessTokenAdapter, AccessTokenManagement, ConfigurationError
from requests_cc_token.pickling import Reference, ReferencedService, management_of, managements

from .scripted_server import ScriptedServer, answer, token_answer

SECRET = "T41NT-secret"
TOKEN = "T41NT-token"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Token service and API in one: at ``/token`` a token, elsewhere what came as ``Authorization``."""
    with ScriptedServer() as server:
        server.respond = lambda request: (
            token_answer(TOKEN)
            if request.target == "/token"
            else answer(200, request.headers.get("authorization", "none").encode())
        )
        yield server


def configured(server_url: str, name: str | None) -> AccessTokenManagement:
    """A management as a worker module would make it."""
    management = AccessTokenManagement(name=name)
    management.add_client("worker", token_endpoint=server_url + "token", client_id="m2m", client_secret=SECRET)
    management.add_session("api", base_url=server_url + "api/")
    return management


@pytest.fixture
def config(server: ScriptedServer, tmp_path: Path) -> Path:
    """The same as a TOML file."""
    path = tmp_path / "worker.toml"
    path.write_text(
        f'[clients.worker]\ntoken_endpoint = "{server.token_endpoint}"\nclient_id = "m2m"\nclient_secret = "{SECRET}"\n'
        f'[sessions.api]\nbase_url = "{server.url}api/"\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def spawned() -> Iterator[concurrent.futures.Executor]:
    """One worker process that was spawned, not forked."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        yield executor


# What runs in the other process.


def fetched(session: requests.Session, url: str = "test") -> tuple[int, str]:
    """The process, and what the API was sent as ``Authorization``."""
    return os.getpid(), session.get(url, timeout=20).text


def told(management: AccessTokenManagement) -> str:
    """The process and the sessions of a management."""
    return f"{os.getpid()} {sorted(management.sessions)}"


def configure_here(server_url: str, name: str) -> None:
    """What a worker's initializer does."""
    configured(server_url, name)


def refused(session: requests.Session) -> str:
    """What the request of a session whose management is not here says."""
    try:
        session.get("test", timeout=20)
    except ConfigurationError as error:
        return str(error)
    return "nothing"


def one_of_many(path: str, session: requests.Session) -> bool:
    """Whether a path's management is made once, and the session uses it."""
    first, second = (management_of(Reference("path", path)) for _ in range(2))
    session.get("test", timeout=20)
    return first is second and [line.requests for line in first.stats()] == [1]


def test_r4_by_name(server: ScriptedServer, spawned: concurrent.futures.Executor) -> None:
    """A session of a named management works where a spawned process made one of that name, with a token of its own."""
    with configured(server.url, "r4") as management:
        session = management.make_session("api")
        assert session.get("test").text == f"Bearer {TOKEN}"
        spawned.submit(configure_here, server.url, "r4").result(60)
        process, text = spawned.submit(fetched, session).result(60)
    assert process != os.getpid()
    assert text == f"Bearer {TOKEN}"
    assert [request.target for request in server.requests].count("/token") == 2


def test_r4_by_name_before_it_is_configured(server: ScriptedServer, spawned: concurrent.futures.Executor) -> None:
    """A session loads where no management of that name is yet; its request says what to do until there is one."""
    with configured(server.url, "r4-late") as management:
        session = management.make_session("api")
        message = spawned.submit(refused, session).result(60)
        assert "the management 'r4-late'" in message
        assert "make AccessTokenManagement(name='r4-late') here too" in message
        spawned.submit(configure_here, server.url, "r4-late").result(60)
        assert spawned.submit(fetched, session).result(60)[1] == f"Bearer {TOKEN}"


def test_r4_by_path(server: ScriptedServer, config: Path, spawned: concurrent.futures.Executor) -> None:
    """What a file configures is made of the same file there, once per process, wherever the process runs."""
    with AccessTokenManagement.from_config(config) as management:
        session = management.make_session("api")
        assert spawned.submit(fetched, session).result(60)[1] == f"Bearer {TOKEN}"
        assert spawned.submit(one_of_many, str(config), session).result(60)
        assert spawned.submit(told, management).result(60).endswith("['api']")
    assert [request.target for request in server.requests].count("/token") == 1


def test_r4_by_path_where_nothing_is_imported(config: Path) -> None:
    """A process that knows nothing but the pickle finds all that it needs."""
    program = (
        "import hashlib, pickle, sys; sent = pickle.load(sys.stdin.buffer).get('test', timeout=20).content; "
        "print(hashlib.sha256(sent).hexdigest())"
    )
    with AccessTokenManagement.from_config(config) as management:
        pickled = pickle.dumps(management.make_session("api"))
    done = subprocess.run([sys.executable, "-c", program], input=pickled, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == hashlib.sha256(f"Bearer {TOKEN}".encode()).hexdigest()


def test_r4_by_relative_path(
    config: Path, spawned: concurrent.futures.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path travels as the absolute one that it was."""
    monkeypatch.chdir(config.parent)
    with AccessTokenManagement.from_config(config.name) as management:
        monkeypatch.chdir("/")
        assert spawned.submit(fetched, management.make_session("api")).result(60)[1] == f"Bearer {TOKEN}"


def test_r4_the_default_management(
    config: Path, monkeypatch: pytest.MonkeyPatch, spawned: concurrent.futures.Executor
) -> None:
    """The default management travels as such: the other process takes its own, else the file of this one."""
    default = requests_cc_token.configure(config)
    session = requests_cc_token.make_session("api")
    assert pickle.loads(pickle.dumps(default)) is default
    assert spawned.submit(fetched, session).result(60)[1] == f"Bearer {TOKEN}"
    other = AccessTokenManagement()
    pickled = pickle.dumps(default)
    requests_cc_token.configure(other)
    assert pickle.loads(pickled) is other
    monkeypatch.setattr(requests_cc_token._default, "management", None)
    with pytest.raises(ConfigurationError, match="the default management is not configured"):
        management_of(Reference("default", None))
    default.close()


def test_r4_what_a_reference_means_where_nothing_is_configured(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name means nothing there; a path, or a default that came of one, is a management made of the file, once."""
    monkeypatch.setattr(requests_cc_token._default, "management", None)
    with pytest.raises(ConfigurationError, match="reference to the management 'r4-unknown'"):
        management_of(Reference("name", "r4-unknown"))
    made = management_of(Reference("path", str(config)))
    assert management_of(Reference("path", str(config))) is made
    assert management_of(Reference("default", str(config))) is made
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(config))
    default = management_of(Reference("default", str(config)))
    assert isinstance(default, AccessTokenManagement)
    assert requests_cc_token._default.management is default
    assert default is not made
    default.close()
    made.close()


def test_r4_the_default_management_of_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch, spawned: concurrent.futures.Executor
) -> None:
    """A default management that the environment configures is made of the other process's environment."""
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(config))
    session = requests_cc_token.make_session("api")
    assert spawned.submit(fetched, session).result(60)[1] == f"Bearer {TOKEN}"


def test_r4_a_mounted_adapter(config: Path, server: ScriptedServer, spawned: concurrent.futures.Executor) -> None:
    """A plain session with a mounted adapter travels too, and the adapter keeps to its prefix there."""
    with AccessTokenManagement.from_config(config) as management:
        session = requests.Session()
        management.mount(session, server.url + "api/")
        assert spawned.submit(fetched, session, server.url + "api/x").result(60)[1] == f"Bearer {TOKEN}"
        assert spawned.submit(fetched, session, server.url + "other").result(60)[1] == "none"
        plain = requests.Session()
        plain.mount(server.url + "api/", AccessTokenAdapter(management.service, prefix=server.url + "api/"))
        assert spawned.submit(fetched, plain, server.url + "api/x").result(60)[1] == f"Bearer {TOKEN}"
        assert spawned.submit(fetched, plain, server.url + "api/%2e%2e/x").result(60)[1] == "none"


def test_r4_an_argument_of_a_spawned_process(config: Path) -> None:
    """A session may be an argument of a `multiprocessing` process."""
    context = multiprocessing.get_context("spawn")
    with AccessTokenManagement.from_config(config) as management:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=send_fetched, args=(sender, management.make_session("api")))
        process.start()
        assert receiver.poll(60)
        assert receiver.recv() == f"Bearer {TOKEN}"
        process.join(60)
        assert process.exitcode == 0


def send_fetched(sender: Any, session: requests.Session) -> None:
    """Send what the API was sent."""
    sender.send(fetched(session)[1])
    sender.close()


class ByTable(pickle.Pickler):
    """A pickler with a dispatch table of its own, as joblib's and cloudpickle's are."""

    dispatch_table = copyreg.dispatch_table.copy()

    def reducer_override(self, obj: Any) -> Any:
        """Leave everything to the ordinary way, but have been asked."""
        return NotImplemented


def by_table(value: Any) -> bytes:
    """Pickle as joblib and Dask do."""
    buffer = io.BytesIO()
    ByTable(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_r4_no_secret_in_any_pickle(server: ScriptedServer, config: Path, protocol: int) -> None:
    """No pickle of anything that travels holds a secret or a token, even after use."""
    named = configured(server.url, "r4-pickles")
    with named, AccessTokenManagement.from_config(config) as by_path:
        for management in (named, by_path):
            session = management.make_session("api")
            response = session.get("test")
            plain = requests.Session()
            adapter = management.mount(plain, server.url)
            plain.get(server.url)
            for value in (management, management.service, session, adapter, plain, response.request):
                for pickled in (pickle.dumps(value, protocol), by_table(value)):
                    assert b"T41NT" not in pickled
                assert type(pickle.loads(pickle.dumps(value, protocol))) is type(value)


def test_r4_in_the_same_process(config: Path) -> None:
    """A copy in the same process shares management, service and tokens."""
    with AccessTokenManagement.from_config(config) as management:
        session: Any = management.make_session("api")
        for twin in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session), copy.copy(session)):
            assert twin.get("test").text == f"Bearer {TOKEN}"
            assert twin.base_url == session.base_url
            assert twin.get_adapter(twin.base_url)._policy.service is management.service
        assert copy.copy(management.service) is copy.deepcopy(management.service) is management.service
        assert [line.requests for line in management.stats()] == [1]


def test_r4_a_stand_in_travels_on(server: ScriptedServer) -> None:
    """A session that waits for its management can be handed on meanwhile."""
    management = configured(server.url, "r4-on")
    pickled = pickle.dumps(management.make_session("api"))
    management.close()
    waiting = pickle.loads(pickled)
    stand_in = waiting.get_adapter(server.url + "api/")._policy.service
    assert isinstance(stand_in, ReferencedService)
    assert repr(stand_in) == "<AccessTokenService of the name management 'r4-on'>"
    assert copy.deepcopy(waiting).get_adapter(server.url + "api/")._policy.service is not None
    again = pickle.loads(pickle.dumps(waiting))
    with configured(server.url, "r4-on"):
        assert again.get("test").text == f"Bearer {TOKEN}"


def plain_mount(management: AccessTokenManagement) -> requests.Session:
    """A plain session with an adapter."""
    session = requests.Session()
    session.mount("https://api.example.com/", AccessTokenAdapter(management.service, prefix="https://api.example.com/"))
    return session


REFUSALS: dict[str, Callable[[AccessTokenManagement], Any]] = {
    "management": lambda management: management,
    "service": lambda management: management.service,
    "session": lambda management: management.make_session("api"),
    "adapter": lambda management: management.mount(requests.Session(), "https://api.example.com/"),
    "plain session": plain_mount,
}


@pytest.mark.parametrize("what", REFUSALS)
def test_r4_what_no_other_process_could_find(server: ScriptedServer, what: str) -> None:
    """A management without name and file refuses to be pickled, in one sentence that says what to do."""
    with configured(server.url, None) as management:
        value = REFUSALS[what](management)
        with pytest.raises(TypeError, match="give it a name") as caught:
            pickle.dumps(value)
        assert "\n" not in str(caught.value)
        assert "from_config" in str(caught.value)


def test_r4_what_holds_a_secret_refuses(server: ScriptedServer) -> None:
    """Clients, secrets, caches and tokens refuse to be pickled, each in one sentence."""
    with configured(server.url, "r4-secrets") as management:
        client = management.add_client(
            "other", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET
        )
        token = management.service.get_access_token("worker")
        for value in (client, client.client_secret, token, management._cache):
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(value)


def test_r4_a_name_that_means_another_one(server: ScriptedServer) -> None:
    """A management that its name no longer finds says so, instead of travelling as another one."""
    first = configured(server.url, "r4-twice")
    second = configured(server.url, "r4-twice")
    assert pickle.loads(pickle.dumps(second)) is second
    for management in (first, second):
        management.close()
        with pytest.raises(TypeError, match="is closed, or a newer one is named 'r4-twice'"):
            pickle.dumps(management)


def test_r4_a_service_of_nobody(server: ScriptedServer) -> None:
    """A service without a management refuses."""
    with configured(server.url, None) as management:
        management.service.reference = None
        with pytest.raises(TypeError, match="only that of an AccessTokenManagement"):
            pickle.dumps(management.service)


@pytest.mark.parametrize("name", ["", "two\nlines", 3])
def test_r4_names_that_are_none(name: Any) -> None:
    """A management's name is printable text."""
    with pytest.raises(ConfigurationError, match="the name of a management"):
        AccessTokenManagement(name=name)


def test_r4_after_a_fork(config: Path) -> None:
    """A lock that another thread holds while the process forks does not stop a child from finding a management."""
    with AccessTokenManagement.from_config(config) as management, managements._lock:
        pickled = pickle.dumps(management.make_session("api"))
        lock = managements._lock
        managements.after_fork_in_child()
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(fetched(pickle.loads(pickled))[1]), daemon=True)
        thread.start()
        thread.join(60)
        managements._lock = lock
        assert found == [f"Bearer {TOKEN}"]


def test_r4_an_inner_adapter_travels(config: Path) -> None:
    """An adapter that another one sends for travels with it."""
    with AccessTokenManagement.from_config(config) as management:
        session = requests.Session()
        management.mount(session, "https://api.example.com/", inner=HTTPAdapter(max_retries=3))
        twin = pickle.loads(pickle.dumps(session)).get_adapter("https://api.example.com/")
        assert twin._inner.max_retries.total == 3
