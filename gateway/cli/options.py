"""Options that several commands take, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway import config as configuration
from gateway import log
from gateway.cli.running import fail
from gateway.config import Config
from gateway.loading import ConfigError

Accounts = Annotated[list[str] | None, typer.Option(help="Accounts; default: all.")]
Url = Annotated[str | None, typer.Option(help="The running gateway; default: as configured.")]
ConfigFile = Annotated[Path, typer.Option(help="Configuration file.")]
CONFIG = Path("config.yaml")


def loaded(config: Path) -> Config:
    """Return a configuration, or end the command with what is wrong with it."""
    try:
        return configuration.load(config)
    except ConfigError as error:
        fail(str(error))


def address(settings: Config) -> str:
    """Return where the gateway of a configuration is reached from this machine."""
    host = "127.0.0.1" if settings.server.host in ("0.0.0.0", "::") else settings.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def log_errors_only(settings: Config) -> None:
    """Log nothing milder than an error: the command's own words are what is read."""
    log.configure(msgspec.structs.replace(settings.log, level="error"))
