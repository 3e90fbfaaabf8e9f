"""What ``perpwire check`` found, in words: one paragraph an account, fit to be sent to somebody else.

Owns the wording, what each venue holds that is never counted, and what a report leaves out: no key, no secret, no address in full,
no IP address of a message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from exchanges import VENUES
from gateway.check import Connection, Found
from gateway.feeds import clock_remark

# What lies beside the account that is read. By nature of the venue; what the configuration leaves out is added.
NOT_COUNTED: Mapping[str, tuple[str, ...]] = {
    "okx": (
        "the funding account",
        "earn products (savings, staking, structured ones)",
        "sub-accounts: each needs an account of its own here",
        "trading bots and copy trading, which hold their positions themselves",
    ),
    "bybit": (
        "the funding wallet",
        "earn products",
        "sub-accounts: each needs an account of its own here",
        "trading bots and copy trading, which hold their positions themselves",
        "accounts that are not unified ones",
    ),
    "hyperliquid": (
        "sub-accounts: each is an address of its own",
        "deposits in vaults",
        "staked HYPE",
        "what lies on HyperEVM",
    ),
    "aster": (
        "the spot account",
        "earn products",
        "other wallets and sub-accounts: each needs an account of its own here",
    ),
}
_ELSEWHERE = ("whatever the exchange keeps outside the derivatives account that ccxt reads",)

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\b")
_IP = re.compile(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b(?!:)")


def report(found: Sequence[Found]) -> Iterator[str]:
    """Yield the lines of a report."""
    for one in found:
        yield from _account(one)
        yield ""
    bad = [one.spec.name for one in found if not one.readable]
    yield f"{len(found) - len(bad)} of {len(found)} accounts can be read" + (f"; not: {', '.join(bad)}" if bad else "")


def public(text: str, found: Sequence[Found]) -> str:
    """Return a text without what a report must not hold; no part of it should, and this makes sure."""
    for one in found:
        secrets = one.spec.credentials
        for secret in (secrets.key, secrets.secret, secrets.passphrase) if secrets else ():
            if secret and not _ADDRESS.fullmatch(secret):
                text = text.replace(secret, "…")
    return _ADDRESS.sub(lambda hit: f"{hit[0][:6]}…{hit[0][-4:]}", text)


def _account(one: Found) -> Iterator[str]:
    spec = one.spec
    state = "can be read" if one.readable else "REFUSED" if one.refused is not None else "CANNOT BE READ"
    adapter = "native" if spec.venue in VENUES else "generic, through ccxt"
    yield f"{spec.name}: {state}"
    yield f"  venue         {spec.venue} ({adapter}), env {spec.env}, region {spec.region or 'none'}"
    if one.hosts is not None:
        hosts = dict.fromkeys(filter(None, (one.hosts.rest, one.hosts.ws_private, one.hosts.ws_public)))
        yield f"  hosts         {', '.join(hosts) or 'those that ccxt knows'}"
    if one.refused is not None:
        yield f"  refused       {_message(one.refused)}"
        yield from _belongs(one)
    if one.failed is not None:
        yield f"  failed        {_message(one.failed)}"
    yield from _clock(one)
    yield from _connections(one.connections)
    if one.readable:
        yield from _key(one)
        yield from _holdings(one)
    yield "  not counted   " + "; ".join(_not_counted(one))


def _belongs(one: Found) -> Iterator[str]:
    for env, region in one.belongs_to:
        yield f"  belongs to    this key works with env: {env}" + (f", region: {region}" if region else ", no region")


def _clock(one: Found) -> Iterator[str]:
    if one.clock_offset_ms is not None:
        remark = clock_remark(one.spec.venue, one.clock_offset_ms)
        yield f"  clock         {remark or f'the venue is {one.clock_offset_ms} ms ahead of this machine'}"
    elif one.hosts is not None:
        yield "  clock         could not be read"


def _connections(connections: Sequence[Connection]) -> Iterator[str]:
    for one in connections:
        yield f"  connection    {one.id}: {one.state}" + (f" ({_message(one.error)})" if one.error else "")
        for topic in one.refused:
            yield f"  channel       refused: {_message(topic)}"
        for count in one.in_use:
            yield f"  in use        {count.channel}: {count.count} of {count.limit} connections of this account"


def _key(one: Found) -> Iterator[str]:
    key = one.row.get("permissions")
    if one.unaudited is not None:
        yield f"  key           could not be asked about: {_message(one.unaudited)}"
    elif one.spec.credentials is None:
        yield "  key           none: read by address" + (f" ({_short(one.spec.address)})" if one.spec.address else "")
    elif not isinstance(key, Mapping):
        yield "  key           the venue does not say what it may do"
    else:
        powers = ", ".join(map(str, key["powers"])) or "nothing beyond reading"
        until = f"expires {_day(key['expires_at'])}" if "expires_at" in key else "no expiry is told"
        bound: dict[object, str] = {True: "bound to IP addresses", False: "works from any IP address"}
        yield f"  key           may do: {powers}; {until}; {bound.get(key.get('ip_bound'), 'IP binding is not told')}"


def _holdings(one: Found) -> Iterator[str]:
    row = one.row
    yield f"  mode          {row.get('mode', 'the venue does not say')}"
    pools = row.get("pools")
    for name, pool in sorted(pools.items()) if isinstance(pools, Mapping) else ():
        yield (
            f"  pool          {name} ({pool.get('ccy', '?')}): equity {_figure(pool, 'equity')}, maintenance "
            f"{_figure(pool, 'maintenance_margin')}, ratio {_figure(pool, 'ratio')} ({pool['source']})"
        )
    for coin in one.coins:
        yield f"  collateral    {coin.ccy} {coin.total}{_haircut(coin.collateral, coin.discount)}"
    yield f"  open orders   {one.orders}"
    kinds = Counter(_kind(holding.row) for holding in one.holdings)
    yield "  positions     " + (", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none")
    for holding in one.holdings:
        held = holding.row
        price = f" at {held['liquidation_price']:g}" if isinstance(held.get("liquidation_price"), float) else ""
        yield (
            f"    {held['symbol']} {held.get('side', '')} {held.get('margin_mode', '')}: liquidation "
            f"{held.get('liquidation_source')}{price} ({_message(holding.why)})"
        )
    if any(holding.row.get("liquidation_source") in ("model", "calibrated") for holding in one.holdings):
        yield "    A model is held against every report of the venue: beyond the bounds its rows show the venue's price."


def _kind(row: Mapping[str, object]) -> str:
    """Return kind, and dex where the symbol names one."""
    dex, colon, _ = str(row["symbol"]).partition(":")
    return f"{row['kind']} of dex {dex}" if colon and row["venue"] == "hyperliquid" else str(row["kind"])


def _haircut(collateral: bool | None, discount: str | None) -> str:
    if collateral is False:
        return ", no collateral"
    if discount is not None:
        return f", counts with {discount} of its value"
    return ", collateral" if collateral else ""


def _not_counted(one: Found) -> Iterator[str]:
    yield from NOT_COUNTED.get(one.spec.venue, _ELSEWHERE)
    if one.spec.venue == "hyperliquid" and one.spec.dexes is not None:
        yield f"builder dexes other than: {', '.join(one.spec.dexes) or 'none configured'}"
    unpriced = one.row.get("unpriced")
    if isinstance(unpriced, list) and unpriced:
        yield f"in dollars, for want of a price: {', '.join(unpriced)}"


def _message(text: str) -> str:
    """Return a venue's words without the IP addresses that some of them repeat; hosts with a port stay."""
    return _IP.sub("…", text)


def _figure(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    return f"{value:.6g}" if isinstance(value, float) else "unknown"


def _day(at_ms: object) -> str:
    return f"{datetime.fromtimestamp(int(str(at_ms)) / 1000, UTC):%Y-%m-%d}"


def _short(address: str) -> str:
    return f"{address[:6]}…{address[-4:]}"
