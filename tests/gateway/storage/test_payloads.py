"""Bodies of the journal as they are stored: small, and as they came whatever was written since; damage is said with its entry."""

from __future__ import annotations

import contextlib
import zlib

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.journal import Entry, day, place
from gateway.storage import entries, partitions, payloads, tables
from gateway.storage.batch import Batch
from gateway.storage.errors import DictionaryChanged, PayloadUnreadable

_AT = 1_763_683_200_000
_PLACE = place(_AT) + 1
# What stored rows may need: none of these is ever changed or removed; those that are added belong in here.
_EVERY = {
    "aster-rest-1-36570bcc",
    "aster-ws-1-9befac5f",
    "bybit-rest-1-f402fc20",
    "bybit-ws-1-ba3c8d7a",
    "gateway-turn-1-f5370383",
    "hyperliquid-rest-1-9cbc9147",
    "hyperliquid-ws-1-e0b05973",
    "okx-rest-1-9c42673d",
    "okx-ws-1-2995cd41",
}
_GROUPS = [(kind, venue) for kind in ("ws", "rest") for venue in ("okx", "bybit", "hyperliquid", "aster", "kraken")]
_MESSAGE = (
    '{"arg":{"channel":"positions","instType":"ANY","uid":"77982378738415879"},"data":[{"adl":"2","availPos":"","avgPx":"2991.7",'
    '"baseBal":"","cTime":"1763683200123","ccy":"USDT","deltaBS":"","fee":"-0.92","fundingFee":"0.11","imr":"88.2","instId":'
    '"ETH-USDT-SWAP","instType":"SWAP","interest":"","last":"2998.1","lever":"10","liqPx":"1805.4","markPx":"2997.9","mgnMode":'
    '"cross","mgnRatio":"14.7","mmr":"3.5","notionalUsd":"899.4","pos":"3","posId":"2988349111","posSide":"net","pnl":"0","upl":'
    '"1.86","uplRatio":"0.02","uTime":"1763683201456"}]}'
)


@given(st.sampled_from([*_GROUPS, ("turn", None), ("base", None), ("lost", "okx")]), st.text())
def test_what_comes_out_is_what_went_in(of: tuple[str, str | None], text: str) -> None:
    text = text.encode(errors="replace").decode()
    assert payloads.unpack(payloads.pack(*of, text), _PLACE) == text


def test_half_a_surrogate_pair_costs_that_character_alone() -> None:
    assert payloads.unpack(payloads.pack("ws", "okx", "a\ud800b"), _PLACE) == "a?b"


def test_a_small_message_leaves_a_third_at_most() -> None:
    assert 450 < len(_MESSAGE) < 750
    assert len(payloads.pack("ws", "okx", _MESSAGE)) < len(_MESSAGE) / 3


def test_nothing_that_rows_may_need_is_ever_gone_and_every_venue_has_its_own() -> None:
    known = payloads.known()
    assert {f"{one.group}-{one.number}-{one.adler:08x}" for one in known.by_adler.values()} == _EVERY
    assert known.newest.keys() == {payloads.group(*of) for of in _GROUPS if of[1] != "kraken"} | {payloads.OWN}


@pytest.mark.parametrize("adler", sorted(payloads.known().by_adler))
def test_what_was_written_by_any_dictionary_is_read(adler: int) -> None:
    dictionary = payloads.known().by_adler[adler]
    assert len(dictionary.data) <= payloads.MOST_BYTES
    made = zlib.compressobj(zdict=dictionary.data)
    stored = made.compress(_MESSAGE.encode()) + made.flush()
    assert stored[2:6] == adler.to_bytes(4), "it says itself what it needs"
    assert payloads.unpack(stored, _PLACE) == _MESSAGE


def test_what_was_written_without_one_is_read() -> None:
    assert payloads.unpack(zlib.compress(_MESSAGE.encode()), _PLACE) == _MESSAGE


def test_a_dictionary_that_changed_is_found_by_its_name() -> None:
    for one in payloads.known().by_adler.values():
        name = f"{one.group}-{one.number}-{one.adler:08x}.dict"
        assert payloads.parse(name, one.data) == one
        with pytest.raises(DictionaryChanged, match=f"dictionary {name} of the journal: it is not what its name says"):
            payloads.parse(name, one.data.replace(b'"', b"'", 1))


def test_a_dictionary_that_is_not_here_is_named() -> None:
    made = zlib.compressobj(zdict=b"of another version")
    stored = made.compress(b"{}") + made.flush()
    wanted = f"it needs the dictionary {zlib.adler32(b'of another version'):08x}"
    with pytest.raises(PayloadUnreadable, match=f"entry {_PLACE} of the journal: its body cannot be read: {wanted}"):
        payloads.unpack(stored, _PLACE)


@pytest.mark.parametrize("position", range(len(payloads.pack("ws", "okx", _MESSAGE))))
def test_no_damage_is_taken_for_a_message(position: int) -> None:
    stored = payloads.pack("ws", "okx", _MESSAGE)
    for bit in range(8):
        damaged = bytearray(stored)
        damaged[position] ^= 1 << bit
        with contextlib.suppress(PayloadUnreadable):
            assert payloads.unpack(bytes(damaged), _PLACE) == _MESSAGE, "a bit of no meaning"
    for other in (stored[: position or 1], stored + stored[:1]):
        with pytest.raises(PayloadUnreadable, match=f"entry {_PLACE} of the journal: its body cannot be read"):
            payloads.unpack(other, _PLACE)


async def test_a_replay_ends_at_an_entry_that_cannot_be_read_and_names_it(sql: asyncpg.Connection) -> None:
    await sql.execute("TRUNCATE journal")
    await partitions.make(sql, "journal", day(_PLACE))
    base = Entry(id=_PLACE, at=_AT, kind="base", epoch="e", turn=1, seq=1, body="{}")
    turn = Entry(id=_PLACE + 1, at=_AT, kind="turn", epoch="e", turn=2, seq=2, body=_MESSAGE)
    assert await tables.write(sql, Batch(entries=payloads.rows([base, turn])), row_by_row=False) == []
    found = [row async for row in entries.life(sql, _PLACE + 2)]
    assert [row.body for row in found if isinstance(row, Entry)] == ["{}", _MESSAGE]
    await sql.execute("UPDATE journal SET body = substr(body, 1, 40) WHERE id = $1", turn.id)
    with pytest.raises(
        PayloadUnreadable, match=f"entry {turn.id} of the journal: its body cannot be read: its bytes are damaged"
    ):
        async for _ in entries.life(sql, _PLACE + 2):
            pass
