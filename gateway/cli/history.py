"""Commands about the past: read it from a venue's books, hold it against them, write it to a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gateway import asking, backfilling, exporting, verifying
from gateway.backfill import Status
from gateway.cli.options import CONFIG, Accounts, ConfigFile, Url, address, loaded, log_errors_only
from gateway.cli.running import Stop, fail, run, unless_stopped
from gateway.config import Config, account_specs
from gateway.core.backfills import BadWindow, begin, moment, shown
from gateway.core.journal import DAY_MS
from gateway.core.records import Verification
from gateway.core.verified import lines


def backfill(
    account: Annotated[str, typer.Option(help="Account.")],
    since: Annotated[str, typer.Option("--from", help="Beginning, UTC: 2026-11-01, 2026-11-01T12:30:00Z, or ms.")],
    until: Annotated[str | None, typer.Option("--to", help="End, not in it; default: now.")] = None,
    url: Url = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Read a stretch of an account's past from its venue's books into storage; one that was broken off goes on.

    Status 3: it was read, and some of it cannot be had.
    """
    now = time.time_ns() // 1_000_000
    settings = loaded(config)
    if account not in settings.accounts:
        known = ", ".join(sorted(settings.accounts)) or "none"
        fail(f"backfill: there is no account {account}; there are: {known}")
    with _named("backfill"):
        first, last = moment(since), now if until is None else moment(until)
        begin(account, first, last, now, backfilling.reach_ms(settings.accounts[account].venue))
    log_errors_only(settings)

    async def main(stop: Stop) -> Status:
        with _named("backfill"), Bar(f"{account} from {shown(first)}", last - first) as bar:

            def tell(status: Status) -> None:
                bar.show(max(0, status.backfill.done - first), status.backfill.records)

            reading = _read(settings, url, account, first, last, tell)
            stopped = "backfill: stopped. The same command goes on where it was broken off"
            return await unless_stopped(reading, stop, stopped)

    ended = run(main)
    print("\n".join(backfilling.report(ended)))
    if ended.state == "broken":
        raise typer.Exit(1)
    if ended.backfill.error:
        raise typer.Exit(3)


async def _read(
    settings: Config, url: str | None, account: str, first: int, last: int, tell: Callable[[Status], None]
) -> Status:
    """Have the running gateway read, or read alone where none runs and none was named."""
    try:
        return await backfilling.through_gateway(url or address(settings), account, first, last, tell)
    except asking.NoGateway:
        if url is not None:
            raise
    spec = next(spec for spec in account_specs(settings) if spec.name == account)
    return await backfilling.alone(settings, spec, first, last, tell)


class Bar:
    """A bar of progress on stderr; nothing where that is no terminal."""

    def __init__(self, what: str, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        records = TextColumn("{task.fields[records]:,} records")
        self._progress = Progress(*columns, records, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(what, total=total, records=0)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int, records: int) -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, records=records)


def verify(
    account: Annotated[str | None, typer.Option(help="Account; default: all that are stored.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Beginning, UTC; default: a day before the end.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, not in it; default: today's beginning.")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Hold what is stored against the venues' own books, by account, symbol and day; status 1 where something is unexplained."""
    now = time.time_ns() // 1_000_000
    settings = loaded(config)
    with _named("verify"):
        last = now // DAY_MS * DAY_MS if until is None else moment(until)
        first = last - DAY_MS if since is None else moment(since)
    if first >= last:
        fail(f"verify: the end ({last}) does not lie after the beginning ({first})")
    log_errors_only(settings)

    async def main(_stop: Stop) -> list[Verification]:
        rows = await verifying.once(settings.storage, account, first, last, now)
        if account is not None and not rows[account] and account not in settings.accounts:
            fail(f"verify: nothing of an account {account} is stored")
        return [row for of in rows.values() for row in of]

    found = run(main)
    Console().print(verifying.table(found))
    left = [f"unexplained: {row.account}: {line}" for row in found for line in lines([row])]
    if left:
        print("\n".join(left))
        raise typer.Exit(1)


def export(
    table: Annotated[str, typer.Argument(help="What: history, fills, funding, transfers, pnl, pnl_records, equity, …")],
    account: Accounts = None,
    symbol: Annotated[list[str] | None, typer.Option(help="The venue's own symbols; default: all.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Beginning, UTC: 2026-11-01, 2026-11-01T12:30:00Z, or ms.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, not in it. Of `positions`: the moment.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Of `pnl` and `equity`: hour, day, week or month.")] = None,
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File; default: standard output.")] = None,
    url: Url = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Write stored records to a file, from the running gateway, or from its database where none runs."""
    if table not in exporting.TABLES:
        fail(f"export: there is no table {table!r}; there are: {', '.join(exporting.TABLES)}")
    if form not in exporting.FORMS:
        fail(f"export: --format is {form!r}; it must be one of {', '.join(exporting.FORMS)}")
    settings = Config() if url is not None and not config.exists() else loaded(config)
    with _named("export"):
        moments = [None if text is None else str(moment(text)) for text in (since, until)]
    names = ("", "at") if table == "positions" else ("from", "to")
    given = {"account": ",".join(account or ()), "symbol": ",".join(symbol or ()), "bucket": bucket} | dict(
        zip(names, moments, strict=True)
    )
    query = {name: value for name, value in given.items() if name and value}

    async def main(_stop: Stop) -> None:
        at = url or address(settings)
        try:
            with _named("export"), exporting.target(out) as file:
                await exporting.export(settings, at, table, form, query, file.write, alone=url is None)
        except OSError as error:
            fail(f"--out {out}: cannot be written ({error.strerror})")

    run(main)


@contextmanager
def _named(command: str) -> Iterator[None]:
    """End the command, naming it, where its stretch of time cannot be used or the gateway refuses."""
    try:
        yield
    except (BadWindow, asking.NoAnswer) as error:
        fail(f"{command}: {error}")
