"""A raw client of the simulated Aster: hand-made signatures of both versions, a clock that the test moves."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
from eth_account import Account
from eth_account.messages import encode_typed_data

from exchanges.sim.server import Simulator

BEGIN = 1_795_267_800_000
MAIN, HEDGE, MULTI = "aster-main", "aster-hedge", "aster-multi"


def typed(message: str, chain: int = 1666) -> dict[str, Any]:
    """Return the documented typed data around a message."""
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Message": [{"name": "msg", "type": "string"}],
        },
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain,
            "verifyingContract": "0x0000000000000000000000000000000000000000",
        },
        "message": {"msg": message},
    }


def sign(message: str, key: str, chain: int = 1666) -> str:
    """Return the signature of a V3 message."""
    signed = Account.sign_message(encode_typed_data(full_message=typed(message, chain)), key)
    return "0x" + signed.signature.hex().removeprefix("0x")


class Venue:
    """A running simulator with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.nonce = 0
        self.sim: Simulator

    def __call__(self) -> int:
        return self.now

    @property
    def url(self) -> str:
        return self.sim.urls["aster"]

    def socket(self, path: str) -> str:
        return "ws" + self.url.removeprefix("http") + path

    def login(self, name: str) -> dict[str, str]:
        return {**next(c for c in self.sim.fronts["aster"].credentials() if c["name"] == name)}

    async def send(self, method: str, path: str, **options: Any) -> tuple[int, Any, dict[str, str]]:
        """Return status, decoded JSON and headers of one request."""
        async with aiohttp.ClientSession() as session, session.request(method, self.url + path, **options) as answer:
            return answer.status, json.loads(await answer.text()), dict(answer.headers)

    async def public(self, path: str) -> Any:
        status, answer, _ = await self.send("GET", path)
        assert status == 200, answer
        return answer

    def v3(self, name: str, params: dict[str, Any] | None = None, **wrong: str) -> str:
        """Return signed parameters of a V3 question; ``wrong`` replaces some."""
        login = self.login(name)
        self.nonce += 1
        head = {"nonce": str(self.now * 1000 + self.nonce), "user": login["address"], "signer": login["key"]}
        key = wrong.pop("key", login["secret"])
        message = urlencode({**(params or {}), **head, **wrong})
        return f"{message}&signature={sign(message, key)}"

    def v1(self, name: str, params: dict[str, Any] | None = None, **wrong: str) -> str:
        """Return signed parameters of a V1 question."""
        query = urlencode({**(params or {}), "recvWindow": "5000", "timestamp": str(self.now), **wrong})
        return f"{query}&signature={hmac.new(self.login(name)['secret'].encode(), query.encode(), hashlib.sha256).hexdigest()}"

    async def ask(self, name: str, question: str, **params: Any) -> Any:
        """Ask for an account in the version its key belongs to (``question``: the V3 path, or both as a pair)."""
        old, new = question.split("|") if "|" in question else (question, question)
        login = self.login(name)
        if login["version"] == "v3":
            status, answer, _ = await self.send("GET", f"/fapi/v3/{new}?{self.v3(name, params)}")
        else:
            path = f"/fapi/{old if old[0] == 'v' else 'v1/' + old}?{self.v1(name, params)}"
            status, answer, _ = await self.send("GET", path, headers={"X-MBX-APIKEY": login["key"]})
        assert status == 200, answer
        return answer

    async def listen(self, name: str, method: str = "POST") -> Any:
        """Start (PUT: keep, DELETE: end) an account's stream."""
        login = self.login(name)
        if login["version"] == "v3":
            return (await self.send(method, "/fapi/v3/listenKey", data=self.v3(name), headers=FORM))[1]
        return (await self.send(method, "/fapi/v1/listenKey", headers={"X-MBX-APIKEY": login["key"]}))[1]

    def act(self, kind: str, **fields: Any) -> Any:
        """Do something by the control port's hand."""
        return self.sim.control.fault({"kind": kind, **fields})

    def truth(self, name: str) -> list[dict[str, Any]]:
        return [p for p in self.sim.control.truth()["positions"] if p["account"] == name and not p["liquidated"]]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
