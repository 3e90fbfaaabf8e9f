"""OKX's official SDK, unmodified, against the simulator: only the address differs from what a user would write.

``python-okx`` blocks over REST (it runs in a thread) and speaks TLS alone over WebSocket: a relay with a certificate of its own
stands before the simulator, and ``SSL_CERT_FILE`` makes it known, as it would a company's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from okx.Account import AccountAPI
from okx.PublicData import PublicAPI
from okx.Trade import TradeAPI
from okx.websocket.WsPrivateAsync import WsPrivateAsync
from okx.websocket.WsPublicAsync import WsPublicAsync
from yarl import URL

from exchanges.sim.server import Simulator, start

WAIT_S = 15.0
ACCOUNT = "okx-main"
LIVE = "0"  # the SDK's flag; its default is the demo environment


@pytest.fixture
async def simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    running = await start(3)
    running.control.pause()  # pushes then come from what the test does alone
    yield running
    await running.stop()


def rest(api: Callable[..., Any], simulator: Simulator, flag: str = LIVE, **wrong: str) -> Any:
    """Return a client of the SDK, which is a context manager."""
    account = simulator.world.account(ACCOUNT)
    keys = {"api_key": account.key, "api_secret_key": account.secret, "passphrase": account.passphrase, **wrong}
    return api(**keys, flag=flag, domain=simulator.urls["okx"])


# --- REST --------------------------------------------------------------------------------------------------------------


async def test_reads_positions_and_balance(simulator: Simulator) -> None:
    with rest(AccountAPI, simulator) as api:
        positions = await asyncio.to_thread(api.get_positions)
        balance = await asyncio.to_thread(api.get_account_balance)
        config = await asyncio.to_thread(api.get_account_config)
    assert positions["code"] == "0"
    shown = {(row["instId"], row["mgnMode"]): row["pos"].lstrip("-") for row in positions["data"]}
    held = [p for p in simulator.control.truth()["positions"] if p["account"] == ACCOUNT]
    assert shown == {(p["symbol"], p["margin_mode"]): p["size"] for p in held}
    assert {row["ccy"] for row in balance["data"][0]["details"]} == set(simulator.world.account(ACCOUNT).cash)
    assert (config["data"][0]["acctLv"], config["data"][0]["perm"]) == ("2", "read_only")


async def test_reads_orders_fills_and_bills(simulator: Simulator) -> None:
    simulator.control.fault({"kind": "open_position", "account": ACCOUNT, "symbol": "BTC-USDT-SWAP", "size": "1"})
    with rest(TradeAPI, simulator) as api:
        (fill,) = (await asyncio.to_thread(api.get_fills))["data"]
        (order,) = (await asyncio.to_thread(api.get_order, instId="BTC-USDT-SWAP", ordId=fill["ordId"]))["data"]
        missing = await asyncio.to_thread(api.get_order, instId="BTC-USDT-SWAP", ordId="1")
    with rest(AccountAPI, simulator) as api:
        (bill,) = (await asyncio.to_thread(api.get_account_bills))["data"]
    assert (order["state"], order["tradeId"]) == ("filled", fill["tradeId"])
    assert missing["code"] == "51603"
    assert (bill["type"], bill["billId"]) == ("2", fill["billId"])


async def test_reads_instruments_without_a_key(simulator: Simulator) -> None:
    with PublicAPI(flag=LIVE, domain=simulator.urls["okx"]) as api:
        answer = await asyncio.to_thread(api.get_instruments, instType="SWAP")
    assert "BTC-USDT-SWAP" in {row["instId"] for row in answer["data"]}


@pytest.mark.parametrize(
    ("flag", "wrong", "code"),
    [
        (LIVE, {"api_secret_key": "not the secret"}, "50113"),
        (LIVE, {"passphrase": "not the passphrase"}, "50105"),
        ("1", {}, "50101"),
    ],
)
async def test_is_refused_with_the_venues_codes(
    simulator: Simulator, flag: str, wrong: dict[str, str], code: str
) -> None:
    with rest(AccountAPI, simulator, flag, **wrong) as api:
        assert (await asyncio.to_thread(api.get_positions))["code"] == code


# --- WebSocket ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def secure(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Yield the address of a TLS relay to the simulator."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(_certificate())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    target = URL(simulator.urls["okx"])
    relayed: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.host, target.port)
        pumps = [asyncio.create_task(_pump(reader, there[1])), asyncio.create_task(_pump(there[0], writer))]
        relayed.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for end in (there[1], writer):
            end.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    yield f"wss://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()
    for pump in relayed:
        pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


def _certificate() -> bytes:
    """Return a key and a certificate of its own for localhost, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


class Seen:
    """What the SDK handed to its callback."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, text: str) -> None:
        self._frames.put_nowait(json.loads(text))

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(WAIT_S):
            while not wanted(frame := await self._frames.get()):
                pass
            return frame


@asynccontextmanager
async def started(client: Any) -> AsyncIterator[Any]:
    """Connect a client of the SDK; afterwards end what it started."""
    reading = await client.start()
    try:
        yield client
    finally:
        await client.stop()
        await asyncio.wait({reading}, timeout=WAIT_S)


async def test_watches_positions(simulator: Simulator, secure: str) -> None:
    account = simulator.world.account(ACCOUNT)
    client = WsPrivateAsync(account.key, account.passphrase, account.secret, f"{secure}/ws/v5/private")
    seen = Seen()
    async with started(client):
        await client.subscribe([{"channel": "positions", "instType": "ANY"}], seen)  # rests five seconds in between
        assert (await seen.until(lambda f: f.get("event") == "login"))["code"] == "0"
        await seen.until(lambda f: f.get("eventType") == "snapshot" and f["lastPage"])
        simulator.control.fault({"kind": "open_position", "account": ACCOUNT, "symbol": "BTC-USDT-SWAP", "size": "2"})
        frame = await seen.until(lambda f: f.get("eventType") == "event_update")
    (row,) = frame["data"]
    position = next(p for p in simulator.world.positions(ACCOUNT) if p.symbol == "BTC-USDT-SWAP")
    assert (row["instId"], row["pos"], row["posId"]) == (position.symbol, str(position.size), str(position.id))


async def test_a_wrong_secret_is_refused_on_the_stream(simulator: Simulator, secure: str) -> None:
    account = simulator.world.account(ACCOUNT)
    client = WsPrivateAsync(account.key, account.passphrase, "not the secret", f"{secure}/ws/v5/private")
    seen = client.callback = Seen()
    async with started(client):
        await client.login()
        assert (await seen.until(lambda f: f.get("event") == "error"))["code"] == "60007"


async def test_watches_marks_without_a_key(simulator: Simulator, secure: str) -> None:
    client = WsPublicAsync(f"{secure}/ws/v5/public")
    seen = Seen()
    async with started(client):
        await client.subscribe([{"channel": "mark-price", "instId": "ETH-USDT-SWAP"}], seen)
        frame = await seen.until(lambda f: "data" in f)
    assert frame["data"][0]["markPx"] == simulator.control.truth()["marks"]["okx"]["ETH-USDT-SWAP"]
