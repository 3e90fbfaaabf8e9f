"""The command ``perpwire``: reads options, starts what they name, and says what went wrong in one line.

Owns signals and exit statuses: 0 done, 1 the operator has to act, 3 a recording had lines that could not be used, or some of
the past cannot be had.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from exchanges.errors import VenueError
from exchanges.sim.quoted import LiquidationFields
from gateway import config as configuration
from gateway.demo import SimulatorFailed
from gateway.loading import ConfigError
from gateway.rewind import NothingKept
from gateway.storage.errors import StorageError
from gateway.web.auth import BindRefused
from gateway.web.server import CannotListen

app = typer.Typer(
    name="perpwire",
    help="Live perpetual-futures positions of every venue in one place.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

alerts_app = typer.Typer(help="What fires, and whether the channels work.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")

# What an operator can mend: shown as one line. Anything else is a defect and shows its traceback.
OPERATOR = (ConfigError, VenueError, StorageError, BindRefused, CannotListen, SimulatorFailed, NothingKept)

Stop = asyncio.Event


def fail(text: str, status: int = 1) -> NoReturn:
    """Say what is wrong on stderr and end."""
    print(f"perpwire: {text}", file=sys.stderr)
    raise typer.Exit(status)


def _loaded(config: Path) -> configuration.Config:
    """Return a configuration, or end the command with what is wrong with it."""
    try:
        return configuration.load(config)
    except ConfigError as error:
        fail(str(error))


def run(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> None:
    """Run a program until it returns; SIGTERM and Ctrl-C set its stop event, in this order and once."""

    async def guarded() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(guarded())
    except OPERATOR as error:
        fail(str(error))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it exists; plain asyncio works too."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the dashboard; 0: any free one.")] = 8080,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder that keeps the database; default: a temporary one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='First line of stdout: {"url", "control"}.')] = False,
) -> None:
    """Run the whole thing on this machine: simulated venues, embedded Postgres, gateway and dashboard."""
    from gateway import demo as demonstration
    from gateway.log import configure

    configure(configuration.LogSettings(level="warning"))

    def say(url: str, control: str) -> None:
        text = msgspec.json.encode({"url": url, "control": control}).decode()
        print(
            text if as_json else f"Perpwire demo: {url}  (simulator's control port: {control}; Ctrl-C stops)",
            flush=True,
        )

    run(lambda stop: demonstration.run(stop, port=port, seed=seed, data=data, say=say))


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
    record: Annotated[
        Path | None, typer.Option(help="Write every venue message to this file, as `replay` reads it.")
    ] = None,
) -> None:
    """Serve the accounts of a configuration file."""
    from gateway.app import Gateway
    from gateway.log import configure
    from gateway.replay import Recorder

    try:
        settings = configuration.load(config)
        specs = configuration.account_specs(settings)
        channels = configuration.alert_channels(settings)
    except ConfigError as error:
        fail(str(error))
    configure(settings.log)
    if not settings.accounts:
        fail(f"{config}: no accounts are configured: add one under `accounts:`, or try `perpwire demo`")

    async def main(stop: Stop) -> None:
        recorder = None
        if record is not None:
            try:
                recorder = Recorder(record.open("ab"))
            except OSError as error:
                raise ConfigError(f"--record {record}: cannot be written ({error.strerror})") from None
        gateway = Gateway(settings, specs, recorder=recorder, channels=channels)
        await gateway.run(stop, lambda: print(f"Perpwire: {gateway.url}", flush=True))

    run(main)


@app.command()
def sim(
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Control port; 0: any free one.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One line: addresses and accounts.")] = False,
    faults: Annotated[Path | None, typer.Option(help="Plan of faults (YAML).")] = None,
    random_faults: Annotated[int | None, typer.Option(help="Seed of faults drawn at random.")] = None,
    liquidation_fields: Annotated[
        LiquidationFields, typer.Option(help="What the venues tell of liquidation: wrong is 2 % off.")
    ] = "sent",
) -> None:
    """Run the simulated venues alone."""
    from exchanges.sim.__main__ import planned
    from exchanges.sim.__main__ import run as simulate
    from exchanges.sim.plan import PlanError
    from exchanges.sim.server import PortTaken

    try:
        plan = planned(faults, random_faults)
        asyncio.run(simulate(seed, port, as_json=as_json, plan=plan, liquidation_fields=liquidation_fields))
    except (PortTaken, PlanError) as error:
        fail(str(error))


@app.command()
def replay(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings (JSON Lines).")] = None,
    from_db: Annotated[bool, typer.Option("--from-db", help="Go through the journal in the database instead.")] = False,
    account: Annotated[str | None, typer.Option(help="With --from-db: print this account alone.")] = None,
    until: Annotated[
        str | None, typer.Option(help="With --from-db: a moment, as 2026-11-20T02:58:00Z or in ms; default: the end.")
    ] = None,
    dsn: Annotated[str | None, typer.Option(help="With --from-db: the database; default: as configured.")] = None,
    config: Annotated[Path, typer.Option(help="Configuration file, for --from-db.")] = Path("config.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="One line instead of indented JSON.")] = False,
    explain: Annotated[bool, typer.Option(help="Add to each position how its figures came about.")] = False,
) -> None:
    """Feed recordings, or the journal, through the live path's engine; print the final tables."""
    from gateway.replay import Replay

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
        print(f"perpwire: {reader.failed} of {reader.lines} lines could not be used", file=sys.stderr)
        raise typer.Exit(3)


def _print(tables: dict[str, object], as_json: bool) -> None:
    text = msgspec.json.encode(tables)
    sys.stdout.buffer.write((text if as_json else msgspec.json.format(text, indent=2)) + b"\n")
    sys.stdout.flush()


def _from_db(path: Path, dsn: str | None, account: str | None, until: str | None, explain: bool) -> dict[str, object]:
    from gateway import rewinding
    from gateway.replay import explained
    from gateway.rewind import tables

    found: list[dict[str, object]] = []
    try:
        storage = configuration.StorageSettings(dsn=dsn) if dsn is not None else configuration.load(path).storage
        at = rewinding.moment(until) if until is not None else None
    except (ConfigError, ValueError) as error:
        fail(f"replay: {error}")

    async def main(_stop: Stop) -> None:
        rewind = await rewinding.rewound(storage, at)
        engine = rewind.finish()
        if account is not None and account not in engine.accounts:
            fail(f"replay: no account {account} at that time; there were: {', '.join(sorted(engine.accounts))}")
        of = tables(engine, account)
        found.append(explained(engine, of) if explain else of)
        if (silence := rewinding.silence(rewind, at)) is not None:
            print(f"perpwire: {silence}", file=sys.stderr)
        for name, count in rewind.failures.items():
            print(f"perpwire: {count} turns failed ({name}), as they did when they were lived", file=sys.stderr)

    run(main)
    return found[0]


@app.command()
def reconcile(
    account: Annotated[list[str] | None, typer.Option(help="Accounts; default: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare; the default.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Correct the store.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Close rows of accounts whose venue cannot be asked.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why rows are forced; kept with them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    url: Annotated[str | None, typer.Option(help="The running gateway; default: as configured.")] = None,
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
) -> None:
    """Hold the store against the venues, through the running gateway, and say what differs."""
    from gateway import asking, reconciling

    if dry_run + apply + force > 1:
        fail("reconcile: choose one of --dry-run, --apply, --force")
    mode = "apply" if apply else "force" if force else "dry-run"
    accounts = account or []
    try:
        settings = configuration.load(config) if url is None or force else configuration.Config()
    except ConfigError as error:
        fail(str(error))
    if force:
        if not accounts:
            fail("reconcile --force closes rows that nobody can check: name the accounts with --account")
        reason = reason or (typer.prompt("Why are these rows closed by hand?") if not yes else None)
        if not reason:
            fail("reconcile --force needs --reason: it is kept with the rows")
        if not yes:
            typer.confirm(f"Close every row of {', '.join(accounts)} whose venue cannot be asked?", abort=True)
    address = url or _address(settings)

    async def main(_stop: Stop) -> None:
        try:
            answer = await reconciling.ask(address, mode, accounts, reason)
        except asking.NoAnswer as error:
            if not (force and isinstance(error, asking.NoGateway)):
                fail(str(error))
            answer = await reconciling.force_offline(settings, accounts, reason or "")
        for line in reconciling.report(answer):
            print(line)

    run(main)


def _address(settings: configuration.Config) -> str:
    """Return where the gateway of a configuration is reached from this machine."""
    host = "127.0.0.1" if settings.server.host in ("0.0.0.0", "::") else settings.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


_Url = Annotated[str | None, typer.Option(help="The running gateway; default: as configured.")]
_ConfigFile = Annotated[Path, typer.Option(help="Configuration file.")]


@alerts_app.command("list")
def list_alerts(url: _Url = None, config: _ConfigFile = Path("config.yaml")) -> None:
    """Say what fires, the worst first."""
    from gateway import alerting, asking

    async def main(_stop: Stop) -> None:
        try:
            rows = await alerting.listed(url or _address(configuration.load(config)))
        except asking.NoAnswer as error:
            fail(str(error))
        for line in alerting.report(rows):
            print(line)

    run(main)


@alerts_app.command("test")
def send_test(
    rule: Annotated[str, typer.Argument(help="Name of a rule.")],
    url: _Url = None,
    config: _ConfigFile = Path("config.yaml"),
) -> None:
    """Send a test of a rule to its channels, for real, and say what each answered; status 1 where one did not take it."""
    from gateway import alerting, asking

    async def main(_stop: Stop) -> None:
        try:
            channels = await alerting.tested(url or _address(configuration.load(config)), rule)
        except asking.NoAnswer as error:
            fail(str(error))
        for line in alerting.answers(channels):
            print(line)
        if not channels or not all(answer["ok"] for answer in channels.values()):
            raise typer.Exit(1)

    run(main)


@app.command()
def models(
    record: Annotated[
        Path | None,
        typer.Option(help="Write pairs of inputs and venue figures to this file; no account, id or secret."),
    ] = None,
    judge: Annotated[Path | None, typer.Option(help="Say by a file of pairs which models may be promoted.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to gather pairs with --record.")] = 60.0,
    url: _Url = None,
    config: _ConfigFile = Path("config.yaml"),
) -> None:
    """Say how the margin models agree with the venues, by the running gateway or by recorded pairs."""
    from gateway import asking
    from gateway import models as modelling

    if record is not None and judge is not None:
        fail("models: choose one of --record, --judge")
    # Pairs may be judged where no gateway is configured: by the default bounds then.
    bare = not config.exists() and config == Path("config.yaml") if judge is not None else url is not None
    try:
        settings = configuration.Config() if bare else configuration.load(config)
    except ConfigError as error:
        fail(str(error))
    if judge is not None:
        try:
            with judge.open("rb") as lines:
                found = modelling.judge(modelling.read(lines, str(judge)), settings.engine)
        except OSError as error:
            fail(f"--judge {judge}: cannot be read ({error.strerror})")
        except ValueError as error:
            fail(str(error))
        print("\n".join(modelling.verdict(found)))
        return
    address = url or _address(settings)

    async def main(stop: Stop) -> None:
        try:
            if record is None:
                print("\n".join(modelling.table(await asking.ask(address, "/v1/models"))))
                return
            with record.open("ab") as file:
                written = await modelling.record(address, file, seconds, stop)
        except OSError as error:
            fail(f"--record {record}: cannot be written ({error.strerror})")
        except asking.NoAnswer as error:
            fail(str(error))
        print(f"{written} pairs written to {record}. They tell sizes, prices and balances, and not whose.")

    run(main)


@app.command()
def check(
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
    account: Annotated[list[str] | None, typer.Option(help="Accounts; default: all.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the same to this file; it holds no secret.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to look at most.")] = 20.0,
) -> None:
    """Reach every configured account and say what can be read, and what cannot; status 1 where an account cannot."""
    from gateway import check as checking
    from gateway import reporting
    from gateway.log import configure

    settings = _loaded(config)
    if not settings.accounts:
        fail(f"{config}: no accounts are configured: add one under `accounts:`")
    configure(msgspec.structs.replace(settings.log, level="error"))
    found: list[checking.Found] = []

    async def main(stop: Stop) -> None:
        looking = asyncio.ensure_future(checking.inspect(settings, account or [], seconds))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not looking.done():
            looking.cancel()
            await asyncio.wait((looking,))
            fail("check: stopped")
        found.extend(looking.result())

    run(main)
    text = reporting.public("\n".join(reporting.report(found)), found)
    print(text)
    if report is not None:
        try:
            report.write_text(text + "\n")
        except OSError as error:
            fail(f"--report {report}: cannot be written ({error.strerror})")
    if not all(one.readable for one in found):
        raise typer.Exit(1)


@app.command()
def backfill(
    account: Annotated[str, typer.Option(help="Account.")],
    since: Annotated[str, typer.Option("--from", help="Beginning, UTC: 2026-11-01, 2026-11-01T12:30:00Z, or ms.")],
    until: Annotated[str | None, typer.Option("--to", help="End, not in it; default: now.")] = None,
    url: _Url = None,
    config: _ConfigFile = Path("config.yaml"),
) -> None:
    """Read a stretch of an account's past from its venue's books into storage; one that was broken off goes on.

    Status 3: it was read, and some of it cannot be had.
    """
    from gateway import asking, backfilling
    from gateway.backfill import Status
    from gateway.core.backfills import BadWindow, begin, moment, shown
    from gateway.log import configure

    now = time.time_ns() // 1_000_000
    try:
        settings = configuration.load(config)
        if account not in settings.accounts:
            known = ", ".join(sorted(settings.accounts)) or "none"
            fail(f"backfill: there is no account {account}; there are: {known}")
        first, last = moment(since), now if until is None else moment(until)
        begin(account, first, last, now, backfilling.reach_ms(settings.accounts[account].venue))
    except (ConfigError, BadWindow) as error:
        fail(f"backfill: {error}" if isinstance(error, BadWindow) else str(error))
    configure(msgspec.structs.replace(settings.log, level="error"))
    ended: list[Status] = []

    async def main(stop: Stop) -> None:
        with Bar(f"{account} from {shown(first)}", last - first) as bar:

            def tell(status: Status) -> None:
                bar.show(max(0, status.backfill.done - first), status.backfill.records)

            async def read() -> Status:
                try:
                    return await backfilling.through_gateway(url or _address(settings), account, first, last, tell)
                except asking.NoGateway:
                    if url is not None:
                        raise
                spec = next(spec for spec in configuration.account_specs(settings) if spec.name == account)
                return await backfilling.alone(settings, spec, first, last, tell)

            reading, stopping = asyncio.ensure_future(read()), asyncio.ensure_future(stop.wait())
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not reading.done():
                reading.cancel()
                await asyncio.wait((reading,))
                fail("backfill: stopped. The same command goes on where it was broken off")
        try:
            ended.append(reading.result())
        except (asking.NoAnswer, BadWindow) as error:
            fail(f"backfill: {error}")

    run(main)
    print("\n".join(backfilling.report(ended[0])))
    if ended[0].state == "broken":
        raise typer.Exit(1)
    if ended[0].backfill.error:
        raise typer.Exit(3)


@app.command()
def verify(
    account: Annotated[str | None, typer.Option(help="Account; default: all that are stored.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Beginning, UTC; default: a day before the end.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, not in it; default: today's beginning.")] = None,
    config: _ConfigFile = Path("config.yaml"),
) -> None:
    """Hold what is stored against the venues' own books, by account, symbol and day; status 1 where something is unexplained."""
    from rich.console import Console

    from gateway import verifying
    from gateway.core.backfills import BadWindow, moment
    from gateway.core.journal import DAY_MS
    from gateway.core.records import Verification
    from gateway.core.verified import lines
    from gateway.log import configure

    now = time.time_ns() // 1_000_000
    today = now // DAY_MS * DAY_MS
    try:
        settings = configuration.load(config)
        last = today if until is None else moment(until)
        first = last - DAY_MS if since is None else moment(since)
    except (ConfigError, BadWindow) as error:
        fail(f"verify: {error}" if isinstance(error, BadWindow) else str(error))
    if first >= last:
        fail(f"verify: the end ({last}) does not lie after the beginning ({first})")
    configure(msgspec.structs.replace(settings.log, level="error"))
    found: list[Verification] = []

    async def main(stop: Stop) -> None:
        rows = await verifying.once(settings.storage, account, first, last, now)
        if account is not None and not rows[account] and account not in settings.accounts:
            fail(f"verify: nothing of an account {account} is stored")
        found.extend(row for of in rows.values() for row in of)

    run(main)
    Console().print(verifying.table(found))
    left = [f"unexplained: {row.account}: {line}" for row in found for line in lines([row])]
    if left:
        print("\n".join(left))
        raise typer.Exit(1)


class Bar:
    """A bar of progress on stderr; nothing where that is no terminal."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

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


@app.command()
def export(
    table: Annotated[str, typer.Argument(help="What: history, fills, funding, transfers, pnl, pnl_records, equity, …")],
    account: Annotated[list[str] | None, typer.Option(help="Accounts; default: all.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="The venue's own symbols; default: all.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Beginning, UTC: 2026-11-01, 2026-11-01T12:30:00Z, or ms.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, not in it. Of `positions`: the moment.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Of `pnl` and `equity`: hour, day, week or month.")] = None,
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="File; default: standard output.")] = None,
    url: _Url = None,
    config: _ConfigFile = Path("config.yaml"),
) -> None:
    """Write stored records to a file, from the running gateway, or from its database where none runs."""
    from gateway import asking, exporting
    from gateway.core.backfills import BadWindow, moment

    if table not in exporting.TABLES:
        fail(f"export: there is no table {table!r}; there are: {', '.join(exporting.TABLES)}")
    if form not in exporting.FORMS:
        fail(f"export: --format is {form!r}; it must be one of {', '.join(exporting.FORMS)}")
    try:
        settings = configuration.Config() if url is not None and not config.exists() else configuration.load(config)
        moments = [None if text is None else str(moment(text)) for text in (since, until)]
    except (ConfigError, BadWindow) as error:
        fail(f"export: {error}" if isinstance(error, BadWindow) else str(error))
    names = ("", "at") if table == "positions" else ("from", "to")
    given = {"account": ",".join(account or ()), "symbol": ",".join(symbol or ()), "bucket": bucket} | dict(
        zip(names, moments, strict=True)
    )
    query = {name: value for name, value in given.items() if name and value}

    async def main(_stop: Stop) -> None:
        try:
            with exporting.target(out) as file:
                await exporting.export(
                    settings, url or _address(settings), table, form, query, file.write, alone=url is None
                )
        except OSError as error:
            fail(f"--out {out}: cannot be written ({error.strerror})")
        except asking.NoAnswer as error:
            fail(f"export: {error}")

    run(main)


@app.command()
def migrate(
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
) -> None:
    """Bring the database's schema up to date and end (`serve` does it too)."""
    from gateway.store import migrate_once

    settings = _loaded(config)

    async def main(_stop: Stop) -> None:
        applied = await migrate_once(settings.storage)
        print(f"applied: {', '.join(applied)}" if applied else "the schema is up to date", flush=True)

    run(main)


@app.command()
def storage(
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
) -> None:
    """Say what is stored, table by table: rows, bytes, how far it reaches, how fast it grows, how long it is kept."""
    from gateway.store import size_report

    settings = _loaded(config)

    async def main(_stop: Stop) -> None:
        print("\n".join(await size_report(settings.storage)), flush=True)

    run(main)


@app.command()
def journal(
    place: Annotated[
        int, typer.Argument(min=0, help="Its place: `journal` of a record, or `causes` of another entry.")
    ],
    config: Annotated[Path, typer.Option(help="Configuration file.")] = Path("config.yaml"),
) -> None:
    """Print one entry of the journal as JSON, its body as it came."""
    from gateway.storage import past
    from gateway.store import reading

    settings = _loaded(config)

    async def main(_stop: Stop) -> None:
        async with reading(settings.storage) as reader, reader.connection() as connection:
            found = await past.entry(connection, place)
        if found is None:
            fail(f"journal: no entry {place} is kept; `journal` of a record names one")
        print(msgspec.json.encode(found).decode(), flush=True)

    run(main)


def main() -> None:
    """Run the command line."""
    app()
