"""A day at a simulated venue on which everything happens once, so that there is something of every kind to read."""

from __future__ import annotations

from decimal import Decimal

from exchanges.inquiry import Findings
from tests.conformance.acts import STABLE, held, lots, symbols
from tests.conformance.stage import Scene


async def a_day(at: Scene) -> None:
    """Let everything happen to every account of a venue, and ask everything that can be asked."""
    at.want(symbols(at), [*STABLE, "BTC", "HYPE"])
    began = at.now()
    for account in at.specs:
        one = held(at, account)
        lot, mark, buy = lots(at, one), at.world.mark(one.venue, one.symbol), one.side == "long"
        at.hands.open_position(account, one.symbol, one.side, lot * 2)
        at.hands.close_position(account, one.symbol, one.side, lot)
        price = mark * Decimal("0.98" if buy else "1.02")
        resting = [at.hands.place_order(account, one.symbol, buy, price, lot * 4) for _ in range(2)]
        at.hands.fill_order(resting[0], lot)
        await at.agree(account)
        at.hands.cancel_orders(account, one.symbol)
        at.hands.liquidate(account, one.symbol, one.side, Decimal("0.5"))
        at.hands.deleverage(account, one.symbol, one.side, Decimal("0.5"))
        at.hands.pay_funding(at.venue.name, one.symbol, Decimal("0.0001"))  # type: ignore[arg-type]
        for isolated in [p for p in at.world.positions(account) if p.margin][:1]:
            at.hands.margin(account, isolated.symbol, Decimal("0.5"), isolated.side)
        purse = next(iter(at.world.account(account).cash))
        at.hands.transfer(account, purse, "deposit", Decimal("1.5"))
        at.hands.close_position(account, one.symbol, one.side)
        at.hands.open_position(account, one.symbol, one.side, one.size)
        at.hands.place_order(account, one.symbol, buy, price, lot * 3)
        await at.agree(account)
    for account, asker in at.askers.items():
        mine = sorted({p.symbol for p in at.world.positions(account)})
        order = at.world.orders(account)[0]
        for answer in (
            await at.ask(asker.audit),
            await at.ask(asker.state),
            await at.ask(lambda asker=asker, mine=mine: asker.history(began, mine)),  # type: ignore[misc]
        ):
            assert isinstance(answer, Findings), answer
        await asker.records(began, at.now(), mine)
        listed = next(iter(at.private[account].book.orders.values()), None)
        assert listed is not None, f"{account}: {order} is not streamed"
        await at.ask(lambda asker=asker, listed=listed: asker.order(listed.symbol, listed.order_id))  # type: ignore[misc]
        at.hands.cancel_orders(account)
    await at.agree()
