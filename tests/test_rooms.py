"""The house: every module has its floor, and imports point downward only."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "requests_cc_token"

#: What lives where, from the ground up. A new module gets its floor here; a folder is one room.
FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        # 0 ground: values and pure functions
        """authentication authorized_headers bounded_reads clients clock demand events exceptions expiry flights forks
        grants keyword_arguments locking mounts netrc parameters pickling resend retry_delays secret_source shortcuts
        slot_table slots stats threads tls_contexts tokens tracebacks tracers urls watched_files www_authenticate""",
        # 1: the cache's token else a new one, who asks for it and where, and where tokens stay
        "caches endpoint registry token_source",
        # 2: a usable token for a client
        "service",
        # 3: authorize a copy, send, renew once
        "access_token_auth adapter adapter_policy",
        # 4: the session that make_session returns
        "session",
        # 5: registrations by name
        "config management session_options",
        # 6 doors: what users run
        "__init__ __main__ bridges cli demo testing",
    )
)

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file: its module, or the folder that it is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    """The floor of a room."""
    found = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"{name} is on no floor of tests/test_rooms.py"
    return found[0]


def imported_rooms(path: Path, *, when_loaded: bool = False) -> set[str]:
    """The rooms that a file imports: at its top, within functions, and for type checking alike.

    With ``when_loaded`` only those that its own loading needs.
    """
    depth = len(path.relative_to(PACKAGE).parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rooms: set[str] = set()
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            rooms.update(map(_room_of, (alias.name for alias in node.names)))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == depth:
                module = f"{PACKAGE.name}.{module}".rstrip(".")
            elif node.level:
                continue  # within a folder, which is one room
            if module == PACKAGE.name:
                # `from . import x`: a room, or a name that the door has.
                rooms.update(_room_of(f"{module}.{a.name}") if _is_room(a.name) else "__init__" for a in node.names)
            else:
                rooms.add(_room_of(module))
    return rooms - {"", room(path)}


def _room_of(module: str) -> str:
    package, _, inside = module.partition(".")
    return "" if package != PACKAGE.name else inside.partition(".")[0] or "__init__"


def _is_room(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    """A module imports nothing from the floors above its own."""
    upward = {name for name in imported_rooms(path) if floor(name) > floor(room(path))}
    assert upward == set(), f"{room(path)} is on floor {floor(room(path))}"


def test_nothing_imports_the_bridges() -> None:
    """What meets other libraries is imported by these, or by a user; so no extra of theirs is needed for the rest."""
    assert [path for path in FILES if "bridges" in imported_rooms(path)] == []


def test_there_is_one_order_for_all_files() -> None:
    """No file imports one that imports it, directly or by others; late imports and those for type checkers count."""
    graph = {str(path.relative_to(PACKAGE)): imported_files(path) for path in FILES}
    assert sum(map(len, graph.values())) > 100
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("exceptions.py") < order.index("service.py") < order.index("management.py")


def imported_files(path: Path) -> set[str]:
    """The files of the house that a file imports, wherever the import stands in it."""
    folders = path.relative_to(PACKAGE).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [PACKAGE.name, *folders][: len(folders) + 2 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        for name in names:
            package, _, inside = name.partition(".")
            file = PACKAGE / (inside.replace(".", "/") + ".py")
            if package == PACKAGE.name and inside and file.exists():
                found.add(str(file.relative_to(PACKAGE)))
    return found - {str(path.relative_to(PACKAGE))}


def test_the_walk_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute and relative imports, within functions and of several modules at once, are all seen."""
    house = tmp_path / PACKAGE.name
    (house / "demo").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "demo/low"):
        (house / f"{name}.py").write_text("")
    (house / "a.py").write_text(
        "import requests\nimport requests_cc_token.b\nfrom requests_cc_token.c import x\n"
        "from . import d\ndef f():\n    from .e import y\n    from requests_cc_token import make_session\n"
    )
    (house / "demo" / "high.py").write_text("from .low import x\nfrom ..b import y\nfrom .. import c\n")
    monkeypatch.setitem(globals(), "PACKAGE", house)
    assert imported_rooms(house / "a.py") == {"b", "c", "d", "e", "__init__"}
    assert imported_rooms(house / "demo" / "high.py") == {"b", "c"}
    assert imported_files(house / "a.py") == {"b.py", "c.py", "d.py", "e.py"}
    assert imported_files(house / "demo" / "high.py") == {"demo/low.py", "b.py", "c.py"}
