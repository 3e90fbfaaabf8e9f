"""What a case of the suite is: a name, a sentence, the feature that it needs, and how it is carried out.

Owns the registry. ``messages`` cases read tapes, of the real venues and of the simulated ones alike; ``scene`` cases make things
happen at a simulated venue and look at what comes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from exchanges import VENUES
from exchanges.venue import Feature
from tests.conformance.stage import Scene
from tests.conformance.tape import Tape

Source = Literal["captured", "simulator"]
# Declared beside the features: fields of ``Capabilities`` that are yes or no.
Need = Feature | Literal["hedge_mode", "needs_credentials"]


@dataclass(frozen=True)
class Material:
    """What a venue said: of the real one (``captured``), or of the simulated one."""

    venue: str
    source: Source
    tapes: Sequence[Tape]
    secrets: Sequence[str] = ()


OnMessages = Callable[[Material], int]
OnScene = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        says: What holds, a sentence for the table.
        needs: The feature without which there is nothing to show: where it is not declared, the case is skipped.
        on_messages: Reads tapes; returns how many messages it had something to say about.
        on_scene: Makes things happen.
        uncaptured: Venues of which nothing was captured that the case could read: it has to find nothing there.
    """

    name: str
    says: str
    needs: Need | None = None
    on_messages: OnMessages | None = None
    on_scene: OnScene | None = None
    uncaptured: frozenset[str] = field(default_factory=frozenset)

    def missing(self, venue: str) -> Need | None:
        """Return the feature that a venue would have to declare for this, None where nothing is missing."""
        able = VENUES[venue].capabilities
        if self.needs is None or self.needs in able.features or getattr(able, self.needs, False) is True:
            return None
        return self.needs

    @property
    def module(self) -> str:
        """The module that has it."""
        check = self.on_messages or self.on_scene
        assert check is not None
        return check.__module__

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where it is carried out."""
        return ("captured", "simulator") if self.on_messages else ("simulator",)


CASES: dict[str, Case] = {}


def messages(
    says: str, *, needs: Need | None = None, uncaptured: Sequence[str] = ()
) -> Callable[[OnMessages], OnMessages]:
    """Register a case that reads what a venue said."""

    def register(check: OnMessages) -> OnMessages:
        case = Case(check.__name__, says, needs, on_messages=check, uncaptured=frozenset(uncaptured))
        assert CASES.setdefault(case.name, case) is case
        return check

    return register


def scene(says: str, *, needs: Need | None = None) -> Callable[[OnScene], OnScene]:
    """Register a case that makes things happen."""

    def register(check: OnScene) -> OnScene:
        name: str = check.__name__
        case = Case(name, says, needs, on_scene=check)
        assert CASES.setdefault(case.name, case) is case
        return check

    return register


def cell(case: Case, venue: str) -> str:
    """Return what the table says of a case at a venue."""
    missing = case.missing(venue)
    if missing is not None:
        return f"not declared: `{missing}`"
    told: Mapping[Source, str] = {
        "captured": "no capture" if venue in case.uncaptured else "captured ✓",
        "simulator": "simulator ✓",
    }
    return ", ".join(told[source] for source in case.sources)
