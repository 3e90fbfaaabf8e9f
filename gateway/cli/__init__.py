"""The command ``perpwire``: reads options, starts what they name, and says what went wrong in one line.

Owns the list of commands. What each does stands in the module of its group; how all of them run and fail, in ``running``.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from gateway.cli import history, operations, replay, serve, storage

# In the order of the help.
COMMANDS: tuple[Callable[..., None], ...] = (
    serve.demo,
    serve.serve,
    serve.sim,
    replay.replay,
    operations.reconcile,
    operations.models,
    operations.check,
    history.backfill,
    history.verify,
    history.export,
    storage.migrate,
    storage.storage,
    storage.journal,
)
ALERTS: dict[str, Callable[..., None]] = {"list": operations.list_alerts, "test": operations.send_test}

app = typer.Typer(
    name="perpwire",
    help="Live perpetual-futures positions of every venue in one place.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
alerts_app = typer.Typer(help="What fires, and whether the channels work.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")

for command in COMMANDS:
    app.command()(command)
for name, command in ALERTS.items():
    alerts_app.command(name)(command)


def main() -> None:
    """Run the command line."""
    app()
