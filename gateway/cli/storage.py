"""Commands about the database: its schema, its size, one entry of its journal."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from gateway.cli.options import CONFIG, ConfigFile, loaded
from gateway.cli.running import Stop, fail, run
from gateway.storage import past
from gateway.store import migrate_once, reading, size_report


def migrate(config: ConfigFile = CONFIG) -> None:
    """Bring the database's schema up to date and end (`serve` does it too)."""
    settings = loaded(config)
    applied = run(lambda _stop: migrate_once(settings.storage))
    print(f"applied: {', '.join(applied)}" if applied else "the schema is up to date", flush=True)


def storage(config: ConfigFile = CONFIG) -> None:
    """Say what is stored, table by table: rows, bytes, how far it reaches, how fast it grows, how long it is kept."""
    settings = loaded(config)
    print("\n".join(run(lambda _stop: size_report(settings.storage))), flush=True)


def journal(
    place: Annotated[
        int, typer.Argument(min=0, help="Its place: `journal` of a record, or `causes` of another entry.")
    ],
    config: ConfigFile = CONFIG,
) -> None:
    """Print one entry of the journal as JSON, its body as it came."""
    settings = loaded(config)

    async def main(_stop: Stop) -> None:
        async with reading(settings.storage) as reader, reader.connection() as connection:
            found = await past.entry(connection, place)
        if found is None:
            fail(f"journal: no entry {place} is kept; `journal` of a record names one")
        print(msgspec.json.encode(found).decode(), flush=True)

    run(main)
