"""What an operator asks of configured accounts and of the running gateway: access, differences, alerts, margin models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import alerting, asking, reconciling, reporting
from gateway import check as checking
from gateway import models as modelling
from gateway.cli.options import CONFIG, Accounts, ConfigFile, Url, address, loaded, log_errors_only
from gateway.cli.running import Stop, fail, run, unless_stopped
from gateway.config import Config


def reconcile(
    account: Accounts = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare; the default.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Correct the store.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Close rows of accounts whose venue cannot be asked.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why rows are forced; kept with them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    url: Url = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Hold the store against the venues, through the running gateway, and say what differs."""
    if dry_run + apply + force > 1:
        fail("reconcile: choose one of --dry-run, --apply, --force")
    mode = "apply" if apply else "force" if force else "dry-run"
    accounts = account or []
    settings = loaded(config) if url is None or force else Config()
    if force:
        if not accounts:
            fail("reconcile --force closes rows that nobody can check: name the accounts with --account")
        reason = reason or (typer.prompt("Why are these rows closed by hand?") if not yes else None)
        if not reason:
            fail("reconcile --force needs --reason: it is kept with the rows")
        if not yes:
            typer.confirm(f"Close every row of {', '.join(accounts)} whose venue cannot be asked?", abort=True)

    async def main(_stop: Stop) -> None:
        try:
            answer = await reconciling.ask(url or address(settings), mode, accounts, reason)
        except asking.NoGateway:
            if not force:
                raise
            answer = await reconciling.force_offline(settings, accounts, reason or "")
        for line in reconciling.report(answer):
            print(line)

    run(main)


def list_alerts(url: Url = None, config: ConfigFile = CONFIG) -> None:
    """Say what fires, the worst first."""

    async def main(_stop: Stop) -> None:
        for line in alerting.report(await alerting.listed(url or address(loaded(config)))):
            print(line)

    run(main)


def send_test(
    rule: Annotated[str, typer.Argument(help="Name of a rule.")], url: Url = None, config: ConfigFile = CONFIG
) -> None:
    """Send a test of a rule to its channels, for real, and say what each answered; status 1 where one did not take it."""

    async def main(_stop: Stop) -> None:
        channels = await alerting.tested(url or address(loaded(config)), rule)
        for line in alerting.answers(channels):
            print(line)
        if not channels or not all(answer["ok"] for answer in channels.values()):
            raise typer.Exit(1)

    run(main)


def models(
    record: Annotated[
        Path | None,
        typer.Option(help="Write pairs of inputs and venue figures to this file; no account, id or secret."),
    ] = None,
    judge: Annotated[Path | None, typer.Option(help="Say by a file of pairs which models may be promoted.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to gather pairs with --record.")] = 60.0,
    url: Url = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Say how the margin models agree with the venues, by the running gateway or by recorded pairs."""
    if record is not None and judge is not None:
        fail("models: choose one of --record, --judge")
    # Pairs may be judged where no gateway is configured: by the default bounds then.
    bare = not config.exists() and config == CONFIG if judge is not None else url is not None
    settings = Config() if bare else loaded(config)
    if judge is not None:
        print("\n".join(modelling.verdict(_judged(judge, settings))))
        return

    async def main(stop: Stop) -> None:
        at = url or address(settings)
        if record is None:
            print("\n".join(modelling.table(await asking.ask(at, "/v1/models"))))
            return
        try:
            with record.open("ab") as file:
                written = await modelling.record(at, file, seconds, stop)
        except OSError as error:
            fail(f"--record {record}: cannot be written ({error.strerror})")
        print(f"{written} pairs written to {record}. They tell sizes, prices and balances, and not whose.")

    run(main)


def _judged(pairs: Path, settings: Config) -> list[modelling.Judged]:
    """Return the models of a file of pairs, held against them, or end the command with what is wrong with the file."""
    try:
        with pairs.open("rb") as lines:
            return modelling.judge(modelling.read(lines, str(pairs)), settings.engine)
    except OSError as error:
        fail(f"--judge {pairs}: cannot be read ({error.strerror})")
    except ValueError as error:
        fail(str(error))


def check(
    config: ConfigFile = CONFIG,
    account: Accounts = None,
    report: Annotated[Path | None, typer.Option(help="Write the same to this file; it holds no secret.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to look at most.")] = 20.0,
) -> None:
    """Reach every configured account and say what can be read, and what cannot; status 1 where an account cannot."""
    settings = loaded(config)
    if not settings.accounts:
        fail(f"{config}: no accounts are configured: add one under `accounts:`")
    log_errors_only(settings)
    found = run(lambda stop: unless_stopped(checking.inspect(settings, account or [], seconds), stop, "check: stopped"))
    text = reporting.public("\n".join(reporting.report(found)), found)
    print(text)
    if report is not None:
        try:
            report.write_text(text + "\n")
        except OSError as error:
            fail(f"--report {report}: cannot be written ({error.strerror})")
    if not all(one.readable for one in found):
        raise typer.Exit(1)
