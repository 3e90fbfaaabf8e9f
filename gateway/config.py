"""The configuration: read, checked and typed once, at start.

Owns every key with its unit and default (``config.yaml`` in the project's root lists them all). Secrets never stand in it: an
account names the environment variables or the file that hold them.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from yarl import URL

from exchanges import VENUES
from exchanges.choice import resolve
from exchanges.errors import Rejected
from exchanges.events import Execution
from exchanges.venue import AccountSpec, Credentials, Endpoints
from gateway.core.alerts.rules import Rule, RuleSettings, Select, Severity, rules
from gateway.core.margin import CATALOG
from gateway.core.protocol import Limits
from gateway.core.risk import RiskSettings
from gateway.core.stress import StressSettings
from gateway.loading import (
    BY_REFERENCE,
    ConfigError,
    check_finite,
    check_keys,
    check_section,
    check_table,
    convert,
    key_of,
    read_file,
    referred,
    signing_key,
    webhook_address,
)


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where clients are served. ``port`` 0: the system chooses one."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


Days = Annotated[float, msgspec.Meta(gt=0)] | None


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days after which rows go, by table; None: never.

    ``minute_after``, ``hour_after``: days after which one sample a minute, then one an hour, is left of prices and equity.
    """

    journal: Days = 30.0
    mark_samples: Days = 365.0
    equity_samples: Days = None
    position_changes: Days = None
    position_history: Days = None
    closed_cycles: Days = None
    fills: Days = None
    funding: Days = None
    transfers: Days = None
    pnl_records: Days = None
    reconciliations: Days = None
    verifications: Days = None
    minute_after: Days = 1.0
    hour_after: Days = 30.0


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``dsn`` None: an embedded Postgres in ``data_dir``.

    ``spool_dir``: where what the database does not take waits on this machine's disk; None: ``spool`` in ``data_dir``.
    ``spool_max_mb``: how large that may become.
    """

    dsn: str | None = None
    data_dir: str = ".perpwire"
    flush_interval_s: float = 1.0
    spool_dir: str | None = None
    spool_max_mb: Annotated[int, msgspec.Meta(ge=1)] = 1024
    retention: RetentionSettings = RetentionSettings()

    @property
    def spool_folder(self) -> Path:
        """The folder of the spool."""
        return Path(self.spool_dir) if self.spool_dir is not None else Path(self.data_dir) / "spool"


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the engine.

    ``mark_max_age_ms``: age beyond which a mark is stale, per venue. ``calibration_bound``: share of a pool's equity,
    ``calibration_distance``: difference of the distances, beyond which the venue's liquidation price is shown and not the model's.
    ``anchor_skew_ms``: inputs further apart than this are not held against the venue's. ``bases``: underlyings that move like
    another one, by name; what is left out keeps its own.
    """

    mark_max_age_ms: dict[str, int] = msgspec.field(
        # OKX repeats an unchanged mark every 10 s, Aster every second; Bybit and Hyperliquid are silent while nothing changes.
        default_factory=lambda: {"okx": 25_000, "bybit": 120_000, "hyperliquid": 120_000, "aster": 15_000}
    )
    dust_usd: float = 1.0
    liquidation_risk_distance: float = 0.1
    calibration_bound: Annotated[float, msgspec.Meta(gt=0)] = 0.01
    calibration_distance: Annotated[float, msgspec.Meta(gt=0)] = 0.002
    anchor_skew_ms: Annotated[int, msgspec.Meta(ge=0)] = 2_000
    bases: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "XBT": "BTC",
            "WBTC": "BTC",
            "UBTC": "BTC",
            "WETH": "ETH",
            "STETH": "ETH",
            "WSTETH": "ETH",
            "UETH": "ETH",
            "USOL": "SOL",
        }
    )


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Margin models: ``promoted`` names those whose figures are shown though they were not measured against captured messages."""

    promoted: tuple[str, ...] = ()


class VerifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often every account's whole state is asked at its venue, in seconds; None: as often as the venue's limits allow."""

    every_s: Annotated[float, msgspec.Meta(ge=1)] | None = None


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``backfill_days``: how much of the past of a new account a start reads from its venue; 0: none.

    ``verify``: every day is held against the venues' own books once it is over.
    """

    backfill_days: Annotated[float, msgspec.Meta(ge=0, le=3650)] = 7.0
    verify: bool = True


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``format``: json for machines, console for people."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "console"


class HostSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hosts of one venue in place of its own; a missing one keeps the venue's.

    ``stream_users``: how many accounts are streamed from this address, in place of the venue's own limit; others are polled.
    """

    rest: str | None = None
    ws_public: str | None = None
    ws_private: str | None = None
    stream_users: Annotated[int, msgspec.Meta(ge=0)] | None = None


class AccountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One account. ``credentials``: ``env:PREFIX`` or ``file:PATH``; ``address`` for venues that are read by address.

    ``execution``: whether its positions are real, a rehearsal with real prices, or a backtest's; they are never counted together.
    ``allocated``: what it was given, by currency; ``require_allocation``: it does not go live where it holds less.
    ``allow_trading_keys``: a key that can trade or withdraw is accepted. ``poll``: no stream even where there is one.
    ``dexes``: Hyperliquid's builder dexes to read; None: all where it holds something.
    """

    SECRETS_GO: ClassVar[str] = (
        "Put it into environment variables or a file of your own and name them: `credentials: env:PREFIX` (PREFIX_KEY, "
        "PREFIX_SECRET, PREFIX_PASSPHRASE) or `credentials: file:PATH`"
    )

    venue: str
    env: Literal["live", "demo", "testnet"] = "live"
    region: str | None = None
    user: str = "default"
    strategy: str | None = None
    credentials: str | None = None
    address: str | None = None
    execution: Execution = "live"
    allocated: dict[str, Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]] = {}
    require_allocation: bool = False
    allow_trading_keys: bool = False
    poll: bool = False
    dexes: tuple[str, ...] | None = None


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts are told: a signed ``webhook``, or whatever ``apprise`` reaches.

    ``url``, ``secret``: ``env:NAME`` or ``file:PATH``; a webhook is signed with its secret. ``allow_private``: the webhook may be
    on this machine or in this network. ``min_severity``: milder alerts are not told here.
    """

    SECRETS_GO: ClassVar[str] = BY_REFERENCE

    type: Literal["webhook", "apprise"]
    url: str
    secret: str | None = None
    allow_private: bool = False
    min_severity: Severity = "info"


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is watched and where it is told. ``builtin`` false: only ``rules`` hold. One of a built-in rule's name changes that."""

    builtin: bool = True
    rules: dict[str, RuleSettings] = {}
    channels: dict[str, ChannelSettings] = {}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    limits: Limits = Limits()
    storage: StorageSettings = StorageSettings()
    engine: EngineSettings = msgspec.field(default_factory=EngineSettings)
    models: ModelSettings = ModelSettings()
    risk: RiskSettings = RiskSettings()
    stress: StressSettings = StressSettings()
    alerts: AlertSettings = AlertSettings()
    verify: VerifySettings = VerifySettings()
    history: HistorySettings = HistorySettings()
    log: LogSettings = LogSettings()
    venues: dict[str, HostSettings] = {}
    accounts: dict[str, AccountSettings] = {}


_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "server": ServerSettings,
    "limits": Limits,
    "storage": StorageSettings,
    "engine": EngineSettings,
    "models": ModelSettings,
    "risk": RiskSettings,
    "stress": StressSettings,
    "verify": VerifySettings,
    "history": HistorySettings,
    "log": LogSettings,
}
_TABLES: dict[str, type[msgspec.Struct]] = {"venues": HostSettings, "accounts": AccountSettings}
_ALERT_TABLES: dict[str, type[msgspec.Struct]] = {"rules": RuleSettings, "channels": ChannelSettings}
_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or holds a key or value that is not understood.
    """
    data = read_file(path)
    return parse(data if data is not None else {}, str(path))


def parse(data: object, where: str) -> Config:
    """Check and type a configuration that was read already. Raises ConfigError, naming key and place."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be a mapping of sections such as `server:` and `accounts:`")
    check_finite(data, where)
    check_keys(data, Config, where)
    for section, kind in _SECTIONS.items():
        check_section(data.get(section), kind, f"{where}: {section}")
    for table, kind in _TABLES.items():
        check_table(data.get(table), kind, f"{where}: {table}")
    _check_alert_section(data.get("alerts"), f"{where}: alerts")
    config: Config = convert({key: value for key, value in data.items() if value is not None}, Config, where)
    _check_accounts(config, where)
    _check_alerts(config, where)
    _check_models(config, where)
    return config


def _check_accounts(config: Config, where: str) -> None:
    for section in ("venues", "engine.mark_max_age_ms"):
        names = config.venues if section == "venues" else config.engine.mark_max_age_ms
        for name in names:
            _check_venue(name, f"{where}: {section}")
    for name, account in config.accounts.items():
        if not _ACCOUNT_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: accounts: `{name}` is no account name: use letters, digits, and . _ - (64 at most)"
            )
        _check_venue(account.venue, f"{where}: accounts.{name}.venue")


def _check_models(config: Config, where: str) -> None:
    for name in config.models.promoted:
        if name not in CATALOG:
            near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.0)
            raise ConfigError(
                f"{where}: models.promoted: there is no margin model `{name}`; did you mean `{near[0]}`? "
                f"Known: {', '.join(CATALOG)}"
            )


def _check_alert_section(data: object, where: str) -> None:
    if not isinstance(data, dict):
        return check_section(data, AlertSettings, where)
    check_keys(data, AlertSettings, where)
    rules_given = data.get("rules")
    for name, rule in rules_given.items() if isinstance(rules_given, dict) else ():
        if isinstance(rule, dict):
            check_section(rule.get("select"), Select, f"{where}.rules.{name}.select")
    for table, kind in _ALERT_TABLES.items():
        check_table(data.get(table), kind, f"{where}.{table}")
    return None


def _check_alerts(config: Config, where: str) -> None:
    for name in (*config.alerts.rules, *config.alerts.channels):
        if not _ACCOUNT_NAME.fullmatch(name):
            raise ConfigError(f"{where}: alerts: `{name}` is no name: use letters, digits, and . _ - (64 at most)")
    try:
        rules = alert_rules(config)
    except ValueError as bad:
        raise ConfigError(f"{where}: alerts.rules.{bad}") from None
    for rule in rules:
        for venue in rule.select.venues or ():
            _check_venue(venue, f"{where}: alerts.rules.{rule.name}.select.venues")
        users = {account.user for account in config.accounts.values()}
        for what, names, known in (
            ("account", rule.select.accounts, sorted(config.accounts)),
            ("user", rule.select.users, sorted(users)),
        ):
            for name in names or ():
                if name not in known:
                    place = f"{where}: alerts.rules.{rule.name}.select.{what}s"
                    raise ConfigError(f"{place}: there is no {what} `{name}`; there are: {', '.join(known) or 'none'}")
    for name, channel in config.alerts.channels.items():
        place = f"{where}: alerts.channels.{name}"
        for key, value in (("url", channel.url), ("secret", channel.secret)):
            if value is not None and not re.match(r"(env|file):.", value):
                raise ConfigError(f"{place}.{key}: may hold a secret and does not belong in this file. {BY_REFERENCE}")
        if channel.type == "webhook" and channel.secret is None:
            raise ConfigError(f"{place}: `secret` is missing: what a webhook is signed with. {BY_REFERENCE}")


def alert_rules(config: Config) -> list[Rule]:
    """Return the rules that hold. Raises ValueError, naming the rule."""
    return rules(config.alerts.rules, builtin=config.alerts.builtin, channels=tuple(config.alerts.channels))


class Channel(msgspec.Struct, frozen=True):
    """A channel with its secrets; never shown.

    ``address``: where a webhook goes, or what apprise makes of a text. ``key``: what a webhook is signed with.
    """

    name: str
    settings: ChannelSettings
    address: URL | str
    key: bytes = b""

    def __repr__(self) -> str:
        return f"Channel({self.name})"


def alert_channels(config: Config, environ: Mapping[str, str] = os.environ) -> list[Channel]:
    """Return the configured channels with their secrets. Raises ConfigError; no secret is in the message."""
    found = []
    for name, settings in config.alerts.channels.items():
        where = f"alerts.channels.{name}"
        if settings.type == "apprise" and importlib.util.find_spec("apprise") is None:
            raise ConfigError(f"{where}: apprise is not installed. Install the extra: pip install 'perpwire[notify]'")
        address = referred(settings.url, f"{where}.url", environ)
        if settings.type == "apprise":
            found.append(Channel(name, settings, address))
            continue
        secret = referred(settings.secret or "", f"{where}.secret", environ)  # there is one: _check_alerts
        url, key = webhook_address(address, f"{where}.url"), signing_key(secret, f"{where}.secret")
        found.append(Channel(name, settings, url, key))
    return found


def _check_venue(name: str, where: str) -> None:
    try:
        resolve(name)
    except Rejected as unknown:
        raise ConfigError(f"{where}: {unknown.what}") from None


def credentials(name: str, account: AccountSettings, environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """Fetch an account's secrets from where its settings say; None where it names nothing.

    Raises:
        ConfigError: The variables or the file are missing or incomplete. No secret is in the message.
    """
    if account.credentials is None:
        return None
    return key_of(account.credentials, f"accounts.{name}.credentials", environ)


def account_specs(config: Config, environ: Mapping[str, str] = os.environ) -> list[AccountSpec]:
    """Return the configured accounts with their secrets. Raises ConfigError."""
    return [
        AccountSpec(
            name=name,
            venue=account.venue,
            env=account.env,
            region=account.region,
            credentials=credentials(name, account, environ),
            address=account.address,
            dexes=account.dexes,
        )
        for name, account in config.accounts.items()
    ]


def endpoints(config: Config, venue: str, env: str, region: str | None) -> Endpoints:
    """Return a venue's hosts, the configured ones first; those of an exchange of ccxt's are "" where ccxt's own are meant.

    Raises:
        exchanges.errors.Rejected: A native venue has no such env or region.
    """
    native = VENUES.get(venue)
    own = native.endpoints(env, region) if native is not None else Endpoints(rest="", ws_public="", ws_private="")
    override = config.venues.get(venue)
    if override is None:
        return own
    return Endpoints(
        rest=override.rest or own.rest,
        ws_public=override.ws_public or own.ws_public,
        ws_private=override.ws_private or own.ws_private,
    )


def verify_every_s(config: Config, venue: str) -> float:
    """Return how often the state of an account of this venue is asked."""
    return config.verify.every_s or resolve(venue).capabilities.verify_every_s


def public_view(config: Config) -> dict[str, object]:
    """Return the running configuration without anything secret: a DSN's password is removed, credentials are only named."""
    view: dict[str, Any] = msgspec.to_builtins(config)
    if config.storage.dsn:
        view["storage"]["dsn"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", config.storage.dsn)
    return view
