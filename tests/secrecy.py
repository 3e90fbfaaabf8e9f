"""No secret in any output of a whole test run: what was logged or printed is searched at its end, and a hit fails the run.

Owns what counts as a secret (credentials of every simulated world, keys that tests keep as constants, listen keys, signatures that
were sent) and every text that came out: log, stdout and stderr of each test as pytest captured them, and of programs as
``tests.system.programs`` hands them in. With ``-s`` nothing is captured, and only programs are searched.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import pytest

from exchanges.rest import RestClient
from exchanges.sim.aster import AsterFront
from exchanges.sim.server import Simulator
from exchanges.sim.world import World
from exchanges.supervisor import Supervisor
from exchanges.venue import AccountSpec, Credentials, HttpRequest

LEAST = 12  # characters; anything shorter is a placeholder such as "k"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_SIGNATURE = re.compile(r"(?:^|[?&])signature=([^&]+)")
_RUN = re.compile(r"[0-9A-Za-z]{8,}")
_SECRET_FIELDS = re.compile(r"key|secret|passphrase|\w+_key")


class Outputs:
    """Secrets, and the texts that must not hold one."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.signatures: set[str] = set()
        self.texts: list[tuple[str, str]] = []

    def keep_secret(self, *values: object) -> None:
        """Note secrets; addresses are public, and of a PEM key the second line stands for all."""
        for value in values:
            text = value if isinstance(value, str) else ""
            text = text.splitlines()[1] if text.startswith("-----BEGIN") and "\n" in text else text
            if len(text) >= LEAST and " " not in text and not _ADDRESS.fullmatch(text):
                self.secrets.add(text)

    def keep_seed(self, seed: int) -> None:
        """Note the secrets of a world that another process simulates."""
        World(seed, 0)

    def note(self, place: str, text: str) -> None:
        """Note what came out somewhere."""
        if text:
            self.texts.append((place, text))

    def leaks(self) -> Iterator[str]:
        """Yield where a secret or a signature came out, without repeating it."""
        by_run: dict[str, list[str]] = {}
        for signature in self.signatures:
            runs = _RUN.findall(signature)
            if runs:
                by_run.setdefault(max(runs, key=len), []).append(signature)
        for place, raw in self.texts:
            for text in {raw, unquote(raw)}:
                for secret in self.secrets:
                    if secret in text:
                        yield f"{place}: the secret {secret[:4]}…"
                for run in by_run.keys() & set(_RUN.findall(text)):
                    if any(signature in text for signature in by_run[run]):
                        yield f"{place}: a signature"


OUTPUTS = Outputs()


# --- Where secrets are made ---------------------------------------------------------------------------------------------


def pytest_configure() -> None:
    """Note every secret where it comes into being, for the whole session."""
    _after(World, "__init__", lambda world, _: _keep_accounts(world))
    _after(Simulator, "__init__", lambda simulator, _: _keep_described(simulator.describe()))
    _after(AsterFront, "start_stream", lambda _, listen_key: OUTPUTS.keep_secret(listen_key))
    _before(RestClient, "_exchange", _keep_signed)
    _before(Supervisor, "_send", _keep_login)


def _after(owner: type, name: str, then: Callable[[Any, Any], None]) -> None:
    act = getattr(owner, name)

    @functools.wraps(act)
    def noting(self: Any, *args: Any, **options: Any) -> Any:
        result = act(self, *args, **options)
        then(self, result)
        return result

    setattr(owner, name, noting)


def _before(owner: type, name: str, first: Callable[[Any], None]) -> None:
    act = getattr(owner, name)

    @functools.wraps(act)
    def noting(self: Any, what: Any, *args: Any) -> Any:
        first(what)
        return act(self, what, *args)

    setattr(owner, name, noting)


def _keep_accounts(world: World) -> None:
    for venue in ("okx", "bybit", "aster"):
        for account in world.accounts_of(venue):
            signer = account.signer_key if venue == "aster" else ""
            OUTPUTS.keep_secret(account.key, account.secret, account.passphrase, signer)


def _keep_described(described: Mapping[str, Any]) -> None:
    for venue in described.values():
        for account in venue["accounts"] if isinstance(venue, dict) else ():
            OUTPUTS.keep_secret(*(value for name, value in account.items() if _SECRET_FIELDS.fullmatch(name)))


def _keep_signed(request: HttpRequest) -> None:
    found = [value for name, value in request.headers if name.upper().endswith("SIGN")]
    found += _SIGNATURE.findall(request.path.partition("?")[2]) + _SIGNATURE.findall(request.body or "")
    OUTPUTS.signatures.update(unquote(value) for value in found if len(value) >= LEAST)


def _keep_login(text: str) -> None:
    frame = json.loads(text) if text.startswith("{") else {}
    if frame.get("op") == "login":
        OUTPUTS.signatures.update(one["sign"] for one in frame["args"])
    elif frame.get("op") == "auth":
        OUTPUTS.signatures.add(frame["args"][-1])


def _constants() -> Iterator[Credentials]:
    """Yield the credentials that test modules keep."""
    for name, module in list(sys.modules.items()):
        for value in list(vars(module).values()) if name.startswith("tests.") else ():
            if isinstance(value, AccountSpec) and value.credentials is not None:
                yield value.credentials
            elif isinstance(value, Credentials):
                yield value


# --- What came out --------------------------------------------------------------------------------------------------------


def program(place: str, arguments: Iterable[object], out: str, err: str) -> None:
    """Note what a program wrote; the simulator's own stdout tells its credentials, as it is meant to."""
    command, *options = [str(argument) for argument in arguments] or [""]
    if command in ("sim", "demo"):
        OUTPUTS.keep_seed(int(options[options.index("--seed") + 1]) if "--seed" in options else 1)
    OUTPUTS.note(f"{place} stdout", "" if command == "sim" else out)
    OUTPUTS.note(f"{place} stderr", err)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what a phase of a test wrote and logged."""
    for name, text in report.sections:
        OUTPUTS.note(f"{report.nodeid} ({name})", text)


def found() -> list[str]:
    """Return every place where a secret came out."""
    for one in _constants():
        OUTPUTS.keep_secret(one.key, one.secret, one.passphrase)
    return list(dict.fromkeys(OUTPUTS.leaks()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that let a secret out."""
    if found() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where."""
    leaks = found()
    if leaks:
        terminalreporter.section("secrets in the output of this run", red=True)
        for leak in leaks:
            terminalreporter.write_line(leak)
