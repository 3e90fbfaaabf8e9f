"""The walls of the house: who may import whom, what is pure, and that no import runs in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Modules that reach outside: I/O, clocks, randomness, concurrency. A pure module imports none of them.
# fmt: off  (a word list)
IMPURE = frozenset(
    {
        "aiohttp",
        "asyncio",
        "asyncpg",
        "concurrent",
        "ctypes",
        "httptools",
        "io",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "redis",
        "requests",
        "secrets",
        "select",
        "signal",
        "socket",
        "ssl",
        "starlette",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
        "uuid",
        "uvicorn",
        "uvloop",
        "websockets",
    }
)
# fmt: on
CLOCK_CALLS = frozenset({"now", "today", "utcnow", "fromtimestamp_now"})

PURE = (
    "exchanges.events",
    "exchanges.errors",
    "exchanges.venue",
    "exchanges.collateral",
    "exchanges.feed",
    "exchanges.actions",
    "exchanges.pulse",
    "exchanges.questions",
    "exchanges.remarks",
    "exchanges.standing",
    "exchanges.topics",
    "exchanges.backoff",
    "exchanges.breaker",
    "exchanges.watchdog",
    "exchanges.unified",
    "exchanges.okx",
    "exchanges.bybit",
    "exchanges.hyperliquid",
    "exchanges.aster",
    "gateway.core",
    "gateway.engine",
    "gateway.past",
    "gateway.trial",
    "gateway.whatif",
)

# package → prefixes of this project that it may import (itself is always allowed)
LAYERS = {
    "exchanges.events": (),
    "exchanges.errors": (),
    "exchanges.venue": ("exchanges.events",),
    "exchanges.collateral": ("exchanges.events", "exchanges.venue"),
    "exchanges.okx": ("exchanges.events", "exchanges.errors", "exchanges.venue", "exchanges.collateral"),
    "exchanges.bybit": ("exchanges.events", "exchanges.errors", "exchanges.venue", "exchanges.collateral"),
    "exchanges.hyperliquid": ("exchanges.events", "exchanges.errors", "exchanges.venue"),
    "exchanges.aster": ("exchanges.events", "exchanges.errors", "exchanges.venue"),
    # The simulator shares no code with the codecs or the margin models: otherwise both would share one misreading.
    "exchanges.sim": (),
    "exchanges.backoff": (),
    "exchanges.breaker": ("exchanges.backoff",),
    "exchanges.watchdog": (),
    "exchanges.succession": ("exchanges.actions", "exchanges.events", "exchanges.feed", "exchanges.supervisor"),
    # Questions about one account: at a venue's REST, or through ccxt, which no native venue and no codec knows of.
    "exchanges.inquiry": (
        "exchanges.backoff",
        "exchanges.clock",
        "exchanges.errors",
        "exchanges.events",
        "exchanges.supervisor",
        "exchanges.venue",
    ),
    "exchanges.portfolio": ("exchanges.errors", "exchanges.events", "exchanges.inquiry"),
    "exchanges.unified": ("exchanges.errors", "exchanges.events"),
    "exchanges.ports": ("exchanges.errors", "exchanges.venue"),
    "exchanges.generic": (
        "exchanges.backoff",
        "exchanges.clock",
        "exchanges.errors",
        "exchanges.events",
        "exchanges.inquiry",
        "exchanges.unified",
        "exchanges.venue",
    ),
    "exchanges": ("exchanges",),
    "gateway.core": ("exchanges.events",),
    "gateway.engine": ("exchanges.events", "gateway.core"),
    "gateway.hub": ("gateway.core",),
    "gateway.session": ("gateway.core", "gateway.hub"),
    "gateway.client": ("exchanges.backoff", "gateway.core"),
    "gateway.storage": ("exchanges.backoff", "exchanges.events", "exchanges.venue", "gateway.core"),
    "gateway.web": ("gateway.core", "gateway.engine", "gateway.hub", "gateway.session", "gateway.metrics"),
    "gateway.loading": ("exchanges.venue",),
    "gateway.config": (
        "exchanges",
        "gateway.loading",
        "gateway.core.alerts.rules",
        "gateway.core.margin",
        "gateway.core.protocol",
        "gateway.core.risk",
        "gateway.core.stress",
    ),
    "gateway.notify": (
        "exchanges.backoff",
        "exchanges.clock",
        "gateway.config",
        "gateway.core.alerts",
        "gateway.metrics",
    ),
    # How a life is put down, and gone through again.
    "gateway.journalling": ("exchanges", "gateway.core", "gateway.engine"),
    "gateway.rewind": ("exchanges.events", "gateway.config", "gateway.core", "gateway.engine", "gateway.replay"),
    "gateway.rewinding": ("gateway.config", "gateway.rewind", "gateway.storage"),
    "gateway.verifying": (
        "exchanges.choice",
        "exchanges.clock",
        "gateway.config",
        "gateway.core",
        "gateway.metrics",
        "gateway.storage",
    ),
    "gateway.asking": (),
    "gateway.alerting": ("gateway.asking",),
    "gateway.alert_desk": (
        "exchanges.clock",
        "gateway.core",
        "gateway.engine",
        "gateway.notify",
        "gateway.web.state",
    ),
    "gateway.past": ("exchanges.events", "gateway.core", "gateway.engine"),
    "gateway.history_desk": ("exchanges.events", "gateway.core", "gateway.engine", "gateway.past", "gateway.storage"),
    "gateway.exporting": (
        "gateway.asking",
        "gateway.config",
        "gateway.core",
        "gateway.engine",
        "gateway.history_desk",
        "gateway.hub",
        "gateway.store",
        "gateway.web",
    ),
    "gateway.model_desk": ("gateway.core", "gateway.engine", "gateway.metrics"),
    "gateway.models": ("exchanges.events", "gateway.asking", "gateway.config", "gateway.core", "gateway.engine"),
    "gateway.rounds": ("exchanges",),
    "gateway.gate": ("exchanges.events",),
    "gateway.others": ("exchanges",),
    "gateway.feeds": (
        "exchanges",
        "gateway.config",
        "gateway.gate",
        "gateway.metrics",
        "gateway.others",
        "gateway.replay",
        "gateway.rounds",
    ),
    # It passes by the engine: what is read of the past goes straight into storage.
    "gateway.backfill": ("exchanges", "gateway.core"),
    "gateway.backfilling": (
        "exchanges",
        "gateway.asking",
        "gateway.backfill",
        "gateway.config",
        "gateway.core",
        "gateway.feeds",
        "gateway.rounds",
        "gateway.storage.errors",
        "gateway.store",
    ),
    "gateway.trial": ("exchanges.events", "gateway.core", "gateway.engine"),
    "gateway.whatif": ("gateway.core", "gateway.engine", "gateway.trial"),
    "gateway.operator": ("exchanges", "gateway.core", "gateway.engine", "gateway.feeds", "gateway.web.state"),
    "gateway.reconciling": ("gateway.asking", "gateway.config", "gateway.store"),
    # It serves and stores nothing.
    "gateway.check": (
        "exchanges",
        "gateway.config",
        "gateway.core",
        "gateway.engine",
        "gateway.feeds",
        "gateway.loading",
        "gateway.rounds",
    ),
    "gateway.reporting": ("exchanges", "gateway.check", "gateway.feeds"),
    "gateway.store": ("exchanges.events", "gateway.config", "gateway.core", "gateway.metrics", "gateway.storage"),
    "gateway.turns": ("exchanges.clock", "gateway.core", "gateway.engine", "gateway.hub", "gateway.journalling"),
    # The commands start whatever there is; nothing but ``__main__`` starts them.
    "gateway.cli": ("exchanges", "gateway"),
}


def modules() -> dict[str, Path]:
    """Return every module of the two packages by its dotted name."""
    found = {}
    for package in ("exchanges", "gateway"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Yield the dotted names a module imports; ``top_level`` leaves out imports inside functions and for type checkers."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if not top_level else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def ours(name: str) -> bool:
    return within(name, "exchanges") or within(name, "gateway")


def layer(name: str) -> str | None:
    """Return the most specific layer of a module."""
    return max((key for key in LAYERS if within(name, key)), key=len, default=None)


def test_exchanges_never_imports_gateway() -> None:
    for name, path in MODULES.items():
        if within(name, "exchanges"):
            assert not [other for other in imports(path) if within(other, "gateway")], name


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_the_layers_below_it(name: str) -> None:
    key = layer(name)
    if key is None:
        assert name in {"gateway", "gateway.app", "gateway.demo", "gateway.replay", "gateway.metrics",
                        "gateway.log", "gateway.__main__"}, f"{name} belongs to no layer: name one"  # fmt: skip
        return
    allowed = (key, *LAYERS[key])
    wrong = [other for other in imports(MODULES[name]) if ours(other) and not any(within(other, p) for p in allowed)]
    assert not wrong, f"{name} may import {allowed}, not {wrong}"


@pytest.mark.parametrize("name", sorted(name for name in MODULES if any(within(name, p) for p in PURE)))
def test_pure_modules_touch_nothing_outside(name: str) -> None:
    found = [other for other in imports(MODULES[name]) if other.split(".")[0] in IMPURE or other in IMPURE]
    assert not found, f"{name} is pure, but imports {found}"
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
            pytest.fail(f"{name}:{node.lineno} reads a clock")


def test_only_the_app_knows_every_part() -> None:
    for name, path in MODULES.items():
        found = list(imports(path))
        parts = {part for part in ("exchanges.supervisor", "gateway.storage", "gateway.web", "gateway.engine")
                 if any(within(other, part) for other in found)}  # fmt: skip
        if name != "gateway.app" and not any(within(name, part) for part in parts):
            assert len(parts) < 3, f"{name} knows {sorted(parts)}: only gateway.app may know every part"


def test_only_the_generic_adapter_knows_ccxt_and_only_once_it_is_wanted() -> None:
    for name, path in MODULES.items():
        assert not [other for other in imports(path, top_level=True) if within(other, "ccxt")], name
        if name not in {"exchanges.ports", "exchanges.generic"}:
            assert not [other for other in imports(path) if within(other, "ccxt")], name


def test_no_import_cycle() -> None:
    graph = {
        name: {other for other in imports(path, top_level=True) if other in MODULES and other != name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' → '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
