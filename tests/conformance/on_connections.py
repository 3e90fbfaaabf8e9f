"""Cases of prices, keys, clocks and connections of a simulated venue."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec

from exchanges.errors import AuthFailed
from exchanges.events import (
    CurrencyPrice,
    KeyInfo,
    PositionsSnapshot,
    Price,
)
from exchanges.inquiry import Findings
from exchanges.venue import AccountSpec
from tests.conformance.acts import STABLE, found, main, of, symbols
from tests.conformance.case import scene
from tests.conformance.known import DOLLARS
from tests.conformance.stage import Scene, Stream

# --- Prices ----------------------------------------------------------------------------------------------------------


@scene("Currencies have dollar prices, stablecoins too: USDT is not 1", needs="currency_prices")
async def currencies_are_priced(at: Scene) -> None:
    accounts = [at.world.account(name) for name in at.specs]
    wanted = {ccy for a in accounts for ccy in ({*a.cash} - {"", "xyz"} | {*a.spot})} - {DOLLARS.get(at.venue.name)}
    at.want(symbols(at), sorted(wanted))

    def prices() -> dict[str, str]:
        return {price.ccy: price.usd for s in at.public.values() for price in s.of(CurrencyPrice)}

    await at.eventually(lambda: wanted <= prices().keys(), lambda: f"{wanted}: {prices()}")
    assert wanted
    for ccy in wanted:
        assert abs(Decimal(prices()[ccy]) / at.world.usd(ccy) - 1) < Decimal("0.02"), ccy
    assert "USDT" not in wanted or Decimal(prices()["USDT"]) != 1


@scene("Every price that is asked for is confirmed or refused, and those of all that is held come")
async def prices_are_confirmed_or_refused(at: Scene) -> None:
    at.want(symbols(at), STABLE)
    wanted = {id(s): set(s.factory().price_topics(symbols(at), STABLE)) for s in at.public.values()}

    def open_() -> set[str]:
        return {
            topic
            for s in at.public.values()
            for topic in wanted[id(s)] - s.feed.confirmed
            if not any(topic in text for text in s.feed.refused)
        }

    def marked() -> set[str]:
        return {price.symbol for s in at.public.values() for price in s.of(Price)}

    await at.eventually(lambda: not open_(), lambda: f"neither confirmed nor refused: {open_()}")
    await at.eventually(lambda: set(symbols(at)) <= marked(), lambda: f"no mark: {set(symbols(at)) - marked()}")


@scene("A refused subscription is told with its topic and the venue's code, and costs no other", needs="refusals")
async def refusals_are_told(at: Scene) -> None:
    stream, topics = _refused_soon(at)
    running = stream in at.public.values()
    task = None if running else asyncio.create_task(stream.supervisor.run())

    def told() -> bool:
        return all(any(topic in text and "(" in text for text in stream.feed.refused) for topic in topics)

    await at.eventually(told, lambda: f"not told: {topics}: {stream.feed.refused} {stream.supervisor.status().error}")
    assert not topics & stream.feed.confirmed
    assert stream.feed.confirmed, "the others stand"
    if task is not None:
        stream.supervisor.stop()
        await task
    at.want(symbols(at), STABLE)


def _refused_soon(at: Scene) -> tuple[Stream, set[str]]:
    """Return a connection that asks for topics that the venue does not have, and these."""
    if at.venue.name == "hyperliquid":  # its prices come for all coins at once; open orders are followed by dex
        stream = at.stream(msgspec.structs.replace(at.specs[main(at)], dexes=("nope",)))
        return stream, {topic for topic in stream.factory().topics() if "nope" in topic}
    symbol = {"okx": "NOPE-USDT-SWAP", "bybit": "NOPEUSDT"}[at.venue.name]
    at.want([*symbols(at), symbol], STABLE)
    stream = at.public["public" if at.venue.name == "okx" else "linear"]
    return stream, {topic for topic in stream.factory().price_topics([symbol]) if symbol in topic}


# --- Keys and clocks -------------------------------------------------------------------------------------------------


@scene("What a key may do is reported; one that may trade is told", needs="key_permissions")
async def powers_are_told(at: Scene) -> None:
    account = main(at)
    (plain,) = of(found(await at.ask(at.askers[account].audit)), KeyInfo)
    assert (plain.account, plain.powers) == (account, ())
    at.fault("key_powers", account=account, powers=["read", "trade"])
    answer = await at.ask(at.askers[account].audit)
    at.fault("lift", venue=at.venue.name)
    (able,) = of(found(answer), KeyInfo)
    assert able.powers


@scene("Wrong credentials, or an address that is not the account's, are an error that says what to do")
async def wrong_credentials_are_told(at: Scene) -> None:
    spec = _impostor(at)
    try:
        asker = at.asker(spec)
        refused: object = await at.ask(asker.audit)
        if isinstance(refused, Findings):  # nothing that needs the key was asked yet
            refused = await at.ask(asker.state)
    except AuthFailed as error:  # seen without asking: an agent's address follows from its key
        refused = error
    assert isinstance(refused, AuthFailed), f"{refused!r}"
    assert refused.do
    assert not [secret for secret in at.secrets if secret in str(refused)]


def _impostor(at: Scene) -> AccountSpec:
    spec = at.specs[main(at)]
    if spec.credentials is None:
        return msgspec.structs.replace(spec, address=at.world.account(spec.name).agent)
    secret = spec.credentials.secret
    other = secret[:-1] + ("1" if secret[-1] != "1" else "2")
    return msgspec.structs.replace(spec, credentials=msgspec.structs.replace(spec.credentials, secret=other))


@scene("A refused login ends in a state that says what to do, and is not tried again", needs="login")
async def a_refused_login_is_told(at: Scene) -> None:
    stream = at.stream(_impostor(at))
    task = asyncio.create_task(stream.supervisor.run())
    try:
        await at.eventually(lambda: stream.feed.state == "down" and stream.supervisor.status().error, "refused")
        error = stream.supervisor.status().error or ""
        assert "login refused" in error
        assert not [secret for secret in at.secrets if secret in error]
        assert stream.feed.connections == 1
    finally:
        stream.supervisor.stop()
        await task


@scene("A key that has ended is an error that says what to do", needs="key_permissions")
async def an_expired_key_is_told(at: Scene) -> None:
    account = main(at)
    at.fault("expired_key", account=account)
    answer = await at.ask(at.asker(at.specs[account]).audit)
    at.fault("lift", venue=at.venue.name)
    assert isinstance(answer, AuthFailed), f"{answer!r}"
    assert answer.do


@scene("The venue's clock can be read")
async def the_clock_is_read(at: Scene) -> None:
    request = at.venue.time_request()
    assert request is not None
    for skew in (0, 60_000, -60_000):
        at.fault("clock_skew", venue=at.venue.name, ms=skew)
        body = await at.rest.fetch(request, lambda unsigned: unsigned)
        at.fault("lift", venue=at.venue.name)
        off = at.venue.read_time(body) - at.clock.wall_ms() - skew
        assert abs(off) < 10_000, f"{off} ms off"


# --- Connections -----------------------------------------------------------------------------------------------------


@scene("The planned end of a connection is announced and obeyed", needs="end_notice")
async def a_planned_end_is_obeyed(at: Scene) -> None:
    for stream, connection in ((at.private[main(at)], "private"), (next(iter(at.public.values())), "public")):
        count = stream.feed.connections
        at.fault("notice", venue=at.venue.name, connection=connection, seconds=600)

        def replaced(stream: Stream = stream, count: int = count) -> bool:
            return stream.feed.connections > count and stream.feed.state == "live"

        await at.eventually(replaced, "another connection before the end of this one")


@scene("Whole states of one scope hold rows of that scope alone")
async def scopes_are_one(at: Scene) -> None:
    for account, asker in at.askers.items():
        snapshots = of(found(await at.ask(asker.state)), PositionsSnapshot)
        assert len({snapshot.scope for snapshot in snapshots}) == len(snapshots), account
        assert all(snapshot.asked_at is not None and not snapshot.routine for snapshot in snapshots)
        streamed = {row.scope for row in at.private[account].book.positions.values()}
        assert streamed <= {snapshot.scope for snapshot in snapshots}
