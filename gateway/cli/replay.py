"""The engine's tables once more, from recordings or from the journal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway import config as configuration
from gateway import rewinding
from gateway.cli.options import CONFIG
from gateway.cli.running import Stop, fail, run
from gateway.loading import ConfigError
from gateway.replay import Replay, explained
from gateway.rewind import tables


def replay(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings (JSON Lines).")] = None,
    from_db: Annotated[bool, typer.Option("--from-db", help="Go through the journal in the database instead.")] = False,
    account: Annotated[str | None, typer.Option(help="With --from-db: print this account alone.")] = None,
    until: Annotated[
        str | None, typer.Option(help="With --from-db: a moment, as 2026-11-20T02:58:00Z or in ms; default: the end.")
    ] = None,
    dsn: Annotated[str | None, typer.Option(help="With --from-db: the database; default: as configured.")] = None,
    config: Annotated[Path, typer.Option(help="Configuration file, for --from-db.")] = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One line instead of indented JSON.")] = False,
    explain: Annotated[bool, typer.Option(help="Add to each position how its figures came about.")] = False,
) -> None:
    """Feed recordings, or the journal, through the live path's engine; print the final tables."""
    if from_db == bool(files):
        fail("replay: name recordings, or --from-db")
    if from_db:
        _print(_from_db(config, dsn, account, until, explain), as_json)
        return
    if account or until or dsn:
        fail("replay: --account, --until and --dsn go with --from-db")
    reader = Replay(lambda text: print(text, file=sys.stderr))
    for file in files or ():
        try:
            with file.open("rb") as lines:
                reader.feed(lines, str(file))
        except OSError as error:
            fail(f"{file}: cannot be read ({error.strerror})")
    _print(reader.snapshot(with_explain=explain), as_json)
    if reader.failed:
        fail(f"{reader.failed} of {reader.lines} lines could not be used", 3)


def _print(tables: dict[str, object], as_json: bool) -> None:
    text = msgspec.json.encode(tables)
    sys.stdout.buffer.write((text if as_json else msgspec.json.format(text, indent=2)) + b"\n")
    sys.stdout.flush()


def _from_db(path: Path, dsn: str | None, account: str | None, until: str | None, explain: bool) -> dict[str, object]:
    try:
        storage = configuration.StorageSettings(dsn=dsn) if dsn is not None else configuration.load(path).storage
        at = rewinding.moment(until) if until is not None else None
    except (ConfigError, ValueError) as error:
        fail(f"replay: {error}")

    async def main(_stop: Stop) -> dict[str, object]:
        rewind = await rewinding.rewound(storage, at)
        engine = rewind.finish()
        if account is not None and account not in engine.accounts:
            fail(f"replay: no account {account} at that time; there were: {', '.join(sorted(engine.accounts))}")
        of = tables(engine, account)
        found = explained(engine, of) if explain else of
        if (silence := rewinding.silence(rewind, at)) is not None:
            print(f"perpwire: {silence}", file=sys.stderr)
        for name, count in rewind.failures.items():
            print(f"perpwire: {count} turns failed ({name}), as they did when they were lived", file=sys.stderr)
        return found

    return run(main)
