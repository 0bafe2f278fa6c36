"""The measurements, in a process with a small environment: ``python -m benchmarks.worker FOLDER``; JSON on stdout.

What is compared is measured in turns, round by round, so that whatever else the machine does hits all alike. The
ratio of two is the median of the ratios of their rounds.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from requests_cc_token import AccessTokenManagement
from requests_cc_token.session import DEFAULT_TIMEOUT
from requests_cc_token.shortcuts.adapter import ShortcutAdapter
from requests_cc_token.shortcuts.session import ShortcutSession

from . import peers
from .servers import LARGE

Call = Callable[[], Any]
Clock = Callable[[], float]

BASE = "requests, static header"
OURS = "requests_cc_token, make_session"
#: Environment variables whose number P5 varies.
ENVIRONMENTS = (10, 100, 1000)
THREADS = 32
#: GETs of one round.
GETS = 50
#: GETs before them that do not count: the interpreter specializes its code anew after some sixty calls.
WARMING = 100
#: Registered clients and cached tokens of P9.
MANY = 10_000


def rounds(
    calls: Mapping[str, Call], *, number: int, repeat: int, warming: int = 0, clock: Clock = time.process_time
) -> dict[str, list[float]]:
    """Microseconds per call of each, for each round.

    Each round begins with calls that do not count: what ran before has left its traces in the processor's caches and
    in what the interpreter has specialized, and a program has one kind of session.
    """
    for call in calls.values():
        for _ in range(min(number, 20)):
            call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls.items())
    for turn in range(repeat):
        gc.collect()
        for name, call in order[turn % len(order) :] + order[: turn % len(order)]:
            for _ in range(warming):
                call()
            start = clock()
            for _ in range(number):
                call()
            found[name].append((clock() - start) / number * 1e6)
    return found


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _timed(call: Call) -> float:
    """Microseconds of CPU per call, after one that may find things changed."""
    for _ in range(WARMING):
        call()
    start = time.process_time()
    for _ in range(GETS):
        call()
    return (time.process_time() - start) / GETS * 1e6


def ratios(found: Mapping[str, list[float]], base: str) -> dict[str, Any]:
    """Median microseconds, and the median ratio to the base, with its quartiles."""
    shown = {}
    for name, times in found.items():
        each = [time / of_base for time, of_base in zip(times, found[base], strict=True)]
        low, _, high = statistics.quantiles(each, n=4)
        shown[name] = {"us": statistics.median(times), "ratio": statistics.median(each), "low": low, "high": high}
    return shown


class Bench:
    """The servers, and the measurements by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = folder / "ca.pem"
        self.made: list[AccessTokenManagement] = []
        self.missing: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        """Start the servers."""
        self.server = self._started("benchmarks.servers", str(self.folder))
        plain, tls = _line(self.server).split()
        os.utime(self.bundle, (time.time() - 3600, time.time() - 3600))  # as a bundle is: not just written
        self.http, self.https = f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"
        self.api, self.tokens = f"{self.http}/v1/items", f"{self.http}/token"

    def close(self) -> None:
        """Stop the servers."""
        self.server.communicate()

    def sessions(self, url: str) -> dict[str, requests.Session]:
        """A plain session with a static header, and one of ``make_session``; both trust the benchmark's bundle."""
        plain = requests.Session()
        plain.headers["Authorization"] = f"Bearer {peers.TOKEN}"
        management = peers.management(url, self.tokens)
        self.made.append(management)
        found = {"requests": plain, "requests_cc_token": management.make_session("api")}
        for session in found.values():
            session.verify = str(self.bundle)
        return found

    def p1_p2_one_get(self) -> Any:
        """CPU of a GET on a warm connection, by all peers, each in a process of its own, in turns."""
        running: dict[str, subprocess.Popen[str]] = {}
        for name in peers.PEERS:
            process = self._started("benchmarks.peer", name, self.api, self.tokens)
            said = _line(process)
            if said == "ready":
                running[name] = process
            else:
                self.missing[name] = said
        found: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(60):
            for name, process in running.items():
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
                found[name].append(float(_line(process)))
        for process in running.values():
            process.communicate()
        return ratios(found, BASE)

    @staticmethod
    def _started(module: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def p3_new_tls_connection(self) -> Any:
        """CPU of a GET on a new TLS connection that checks the certificate."""

        def anew(session: requests.Session) -> Call:
            def get() -> None:
                session.close()
                session.get(f"{self.https}/v1/items")

            return get

        calls = {name: anew(session) for name, session in self.sessions(f"{self.https}/v1/items").items()}
        return ratios(rounds(calls, number=5, repeat=25), "requests")

    def p4_threads(self) -> Any:
        """Requests per second of threads that share a session, TLS, an API that takes 10 ms."""
        found: dict[str, list[float]] = {}
        sessions = self.sessions(f"{self.https}/v1/items")
        for session in sessions.values():
            self._in_threads(partial(session.get, f"{self.https}/v1/slow"), 2)
        for _ in range(5):
            for name, session in sessions.items():
                number = 10 if name == "requests" else 40
                seconds = self._in_threads(partial(session.get, f"{self.https}/v1/slow"), number)
                found.setdefault(name, []).append(seconds / number / THREADS * 1e6)
        return ratios(found, "requests")

    @staticmethod
    def _in_threads(call: Call, number: int, clock: Clock = time.perf_counter) -> float:
        start = threading.Barrier(THREADS + 1)

        def work() -> None:
            start.wait()
            for _ in range(number):
                call()

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        start.wait()
        began = clock()
        for thread in threads:
            thread.join()
        return clock() - began

    def p5_environment(self) -> Any:
        """CPU of a GET against the number of environment variables."""
        sessions = self.sessions(self.api)
        found: dict[str, list[float]] = {}
        before = dict(os.environ)
        for _ in range(15):
            for count in ENVIRONMENTS:
                for number in range(count - len(before)):
                    os.environ[f"BENCHMARK_VARIABLE_{number}"] = "x" * 40
                for name, session in sessions.items():
                    found.setdefault(f"{name}, {count}", []).append(_timed(partial(session.get, self.api)))
                for name in set(os.environ) - set(before):
                    del os.environ[name]
        return ratios(found, f"requests_cc_token, {ENVIRONMENTS[0]}")

    def p6_large_bodies(self) -> Any:
        """Wall time of 64 MiB down and up, in one piece and streamed.

        With a timeout each read and each write waits for the socket first, which plain requests only does when told.
        So there are two plain sessions to compare with: one that waits for ever, as it comes, and one with the timeout
        that a session of ours has; this one is measured twice, to show what of a ratio is chance.
        """
        body = bytes(LARGE)
        file = self.folder / "body"
        file.write_bytes(body)

        def pieces() -> Any:
            view = memoryview(body)
            return (bytes(view[at : at + 65_536]) for at in range(0, LARGE, 65_536))

        def streamed(size: int, session: requests.Session, timeout: Any) -> None:
            with session.get(f"{self.http}/v1/large", stream=True, timeout=timeout) as response:
                for _ in response.iter_content(size):
                    pass

        def from_file(session: requests.Session, timeout: Any) -> None:
            with file.open("rb") as opened:
                session.post(self.api, data=opened, timeout=timeout)

        #: Each way, on how many connections it is measured, and how often on each: the closer, the more.
        ways: dict[str, tuple[Callable[[requests.Session, Any], Any], int, int]] = {
            "down": (lambda session, timeout: session.get(f"{self.http}/v1/large", timeout=timeout), 5, 4),
            "down, streamed by 64 KiB": (partial(streamed, 65_536), 30, 12),
            "down, streamed by 8 KiB": (partial(streamed, 8192), 10, 4),
            "up": (lambda session, timeout: session.post(self.api, data=body, timeout=timeout), 30, 12),
            "up, streamed from a file": (from_file, 10, 6),
            "up, streamed from a generator": (
                lambda session, timeout: session.post(self.api, data=pieces(), timeout=timeout),
                30,
                12,
            ),
        }
        return {way: self._moved(*what) for way, what in ways.items()}

    def _moved(self, call: Callable[[requests.Session, Any], Any], connections: int, number: int) -> Any:
        """Throughput of ours against each plain session, and of one plain session against its double.

        What the system makes of a connection and of a server at their beginning stays with them, so there are several
        of both, and an interval comes of drawing from them again. The order is drawn too: what ran before leaves its
        traces.
        """
        chance = random.Random(6)
        taken: list[dict[str, float]] = []
        for _ in range(connections):
            self.close()
            self.start()
            one, two, three = (self.sessions(self.api) for _ in range(3))
            calls = {
                "ours": partial(call, one["requests_cc_token"], DEFAULT_TIMEOUT),
                "same timeout": partial(call, one["requests"], DEFAULT_TIMEOUT),
                "as it comes": partial(call, two["requests"], None),
                "double": partial(call, three["requests"], DEFAULT_TIMEOUT),
            }
            for transfer in calls.values():
                transfer()
            taken.append(dict.fromkeys(calls, 0.0))
            for _ in range(number):
                for name in chance.sample(list(calls), k=len(calls)):
                    start = time.perf_counter()
                    calls[name]()
                    taken[-1][name] += time.perf_counter() - start
            for session in (*one.values(), *two.values(), *three.values()):
                session.close()
        drawn = [chance.choices(taken, k=connections) for _ in range(1000)]

        def against(base: str, who: str) -> dict[str, float]:
            def ratio(of: Sequence[Mapping[str, float]]) -> float:
                return sum(each[base] for each in of) / sum(each[who] for each in of)

            low, *_, high = statistics.quantiles(map(ratio, drawn), n=40)
            return {"ratio": ratio(taken), "low": low, "high": high}

        return {
            "same timeout": against("same timeout", "ours"),
            "as it comes": against("as it comes", "ours"),
            "double": against("same timeout", "double"),
        }

    def p7_token_from_the_cache(self) -> Any:
        """A token that is there, in one thread and in 32: CPU per call."""
        calls: dict[str, Call] = {
            "an attribute and a clock": peers.attribute_and_clock(),
            "cachetools under a lock": peers.cachetools_under_a_lock(),
        }
        for name, maker in peers.PEERS.items():
            if name not in self.missing:
                call = maker(self.api, self.tokens)[1]
                if call is not None:
                    calls[name] = call
        alone = ratios(rounds(calls, number=2000, repeat=15), OURS)
        shared: list[float] = []
        for _ in range(5):
            seconds = self._in_threads(calls[OURS], 20_000, clock=time.process_time)
            shared.append(seconds / 20_000 / THREADS * 1e6)
        return {"one thread": alone, "threads": {"us": statistics.median(shared)}}

    def p8_import(self) -> Any:
        """Time of ``import requests_cc_token`` beyond ``import requests``, and what it does not import."""
        script = "import time; t = time.process_time(); import requests; {}; print(time.process_time() - t)"

        def loading(statements: str) -> float:
            command = [sys.executable, "-c", script.format(statements)]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1e6

        loaders = {
            "requests": "pass",
            "requests_cc_token": "import requests_cc_token",
            "the same, a session made": "from requests_cc_token import AccessTokenManagement as M; m = M(); "
            "m.add_client('c', token_endpoint='https://t.example/token', client_id='c', client_secret='s'); "
            "m.add_session('s', base_url='https://api.example/'); m.make_session('s')",
            "requests, backoff and cachetools": "import backoff, cachetools",
        }
        found: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(40):
            for name, statements in loaders.items():
                found[name].append(loading(statements))
        optional = ["asyncio", "backoff", "cachetools", "click", "cryptography", "filelock", "joserfc", "redis", "rich"]
        loaded = f"import requests_cc_token, sys; print([n for n in {optional} if n in sys.modules])"
        ran = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
        return {"times": ratios(found, "requests"), "loaded": ran.stdout.strip()}

    def p9_many(self) -> Any:
        """Memory of 10,000 registered clients and of 10,000 cached tokens; time of a look-up among 10 and 10,000."""
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        management = AccessTokenManagement()
        for number in range(MANY):
            management.add_client(
                f"client {number}", token_endpoint=self.tokens, client_id=f"client{number}", client_secret=f"s{number}"
            )
        gc.collect()
        clients = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            management.service.get_access_token(f"client {number}")
        gc.collect()
        tokens = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        few = AccessTokenManagement()
        for number in range(10):
            few.add_client(f"client {number}", token_endpoint=self.tokens, client_id="c", client_secret=f"s{number}")
        calls = {
            "10": lambda: few.service.get_access_token("client 7"),
            f"{MANY}": lambda: management.service.get_access_token("client 7"),
        }
        return {
            "bytes per client": (clients - before) / MANY,
            "bytes per token": (tokens - clients) / MANY,
            "look-up": ratios(rounds(calls, number=2000, repeat=25), "10"),
        }

    def p10_unused_features(self) -> Any:
        """CPU of a GET where another client uses DPoP and the optional parts are loaded, against one where none is."""
        sessions = {"nothing else": self.sessions(self.api)["requests_cc_token"]}
        try:
            from requests_cc_token import DPoPKey

            management = peers.management(self.api, self.tokens)
            management.add_client(
                "other", token_endpoint=self.tokens, client_id="o", client_secret="s", dpop=DPoPKey.generate()
            )
            management.add_session("mine", base_url=f"{self.http}/v1/", client="worker")
        except (ImportError, AttributeError) as error:
            self.missing["P10"] = str(error)
            return None
        self.made.append(management)
        sessions["DPoP for another client"] = management.make_session("mine")
        calls = {name: partial(session.get, self.api) for name, session in sessions.items()}
        return ratios(rounds(calls, number=GETS, repeat=40, warming=WARMING), "nothing else")

    def p11_first_answer(self) -> Any:
        """CPU of a fresh process up to its first authenticated answer, against an adapter written by hand."""
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(30):
            for kind, origin in (("plain", self.http), ("TLS", self.https)):
                for way in ("hand", "ours"):
                    spent = self._cpu_of("benchmarks.first_answer", way, f"{origin}/v1/items", f"{origin}/token")
                    found.setdefault(kind, {}).setdefault(way, []).append(spent)
        return {kind: ratios(times, "hand") for kind, times in found.items()}

    def _cpu_of(self, module: str, *arguments: str) -> float:
        """Microseconds of CPU that a process takes from its start to its end."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(self.bundle)}
        subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e6

    def savings(self) -> Any:
        """CPU of a GET with one short way opened after the other: what each earns beside those before it."""
        calls: dict[str, Call] = {}
        for opened in range(len(WAYS) + 1):
            management = peers.management(self.api, self.tokens)
            self.made.append(management)
            session = management.make_session("api")
            partly_open(session, list(WAYS)[:opened])
            calls["none" if not opened else f"and {list(WAYS)[opened - 1]}"] = partial(session.get, self.api)
        plain = requests.Session()
        plain.headers["Authorization"] = f"Bearer {peers.TOKEN}"
        calls["requests"] = partial(plain.get, self.api)
        return ratios(rounds(calls, number=GETS, repeat=40, warming=20), "requests")


#: What a short way leaves out of a GET, in the order in which a request comes to it: our class, theirs, the methods.
WAYS: dict[str, tuple[type, type, tuple[str, ...]]] = {
    "requests prepared in pieces": (ShortcutSession, requests.Session, ("prepare_request",)),
    "environment kept": (ShortcutSession, requests.Session, ("merge_environment_settings",)),
    "pool and path found": (ShortcutAdapter, HTTPAdapter, ("get_connection_with_tls_context", "request_url")),
    "answers made": (ShortcutAdapter, HTTPAdapter, ("build_response",)),
    "and taken": (ShortcutSession, requests.Session, ("send",)),
}


def partly_open(session: requests.Session, ways: Collection[str]) -> None:
    """Let a session of ``make_session`` take only some of the short ways; for the rest it has what requests has."""
    for each, ours in (
        (session, ShortcutSession),
        *((adapter, ShortcutAdapter) for adapter in session.adapters.values()),
    ):
        for way, (of, theirs, names) in WAYS.items():
            if of is ours and way not in ways:
                vars(each).update({name: partial(getattr(theirs, name), each) for name in names})


MEASUREMENTS = [name for name in vars(Bench) if name[0] == "p" and name[1].isdigit()]


def main(folder: Path, wanted: list[str]) -> dict[str, Any]:
    """Measure what is wanted, or all."""
    warnings.simplefilter("ignore")
    bench = Bench(folder)
    results: dict[str, Any] = {}
    try:
        for name in (*MEASUREMENTS, "savings"):
            if name.split("_")[0] in wanted or (not wanted and name != "savings"):
                print(name, file=sys.stderr, flush=True)
                results[name] = getattr(bench, name)()
    finally:
        bench.close()
    versions = {}
    for distribution in ("requests", "urllib3", "httpx", "requests-oauth2client", "requests-oauthlib", "Authlib"):
        versions[distribution] = _version(distribution)
    for distribution in ("google-auth", "requests-auth", "msal", "azure-core"):
        versions[distribution] = _version(distribution)
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[1],
        "variables": len(os.environ),
        "versions": versions,
        "missing": bench.missing,
        "results": results,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), sys.argv[2:]), sys.stdout)
