"""The session machine: both ends in memory, no socket, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.actions import Action, Disconnect, Emit, FeedName, Fetch, Open, Send, Succeed
from exchanges.errors import AuthFailed, KeyTooPowerful, ProtocolViolation, Rejected, Retryable
from exchanges.events import FeedStatus, PositionsSnapshot, Price
from exchanges.feed import Feed
from exchanges.venue import HttpRequest, Link
from tests.exchanges.doubles import ScriptedLink

NAME = FeedName(id="main:private", venue="test", env="live", account="main", connection="private")
WALL = 5_000_000


class Stage:
    """A feed under a clock of its own; every input returns the actions and keeps them.

    Args:
        link: Arguments of each connection's ``ScriptedLink``.
        fraction: What the jitter draws.
    """

    def __init__(self, *, fraction: float = 0.5, **link: object) -> None:
        self.now = 1000
        self.links: list[ScriptedLink] = []
        self.fraction = fraction

        def make_link() -> Link:
            self.links.append(ScriptedLink(**link))  # type: ignore[arg-type]
            return self.links[-1]

        self.feed = Feed(make_link, NAME, random=lambda: self.fraction)

    def open(self) -> list[Action]:
        return self.feed.connecting(self.now) + self.feed.opened(self.now, WALL)

    def hear(self, text: str, after_ms: int = 0) -> list[Action]:
        self.now += after_ms
        return self.feed.received(text, self.now)

    def tick(self, after_ms: int) -> list[Action]:
        self.now += after_ms
        return self.feed.tick(self.now)

    def wait(self) -> list[Action]:
        """Let time pass until the feed's own deadline, and tick."""
        deadline = self.feed.deadline()
        assert deadline is not None
        assert deadline >= self.now
        self.now = deadline
        return self.feed.tick(self.now)

    def answer(self, fetch: Fetch, body: bytes = b"", asked_at: int = 1) -> list[Action]:
        return self.feed.answered(fetch, body, asked_at, self.now)

    def live(self) -> Stage:
        """Go through the whole beginning of a connection that wants no bootstrap."""
        self.open()
        if self.links[-1].needs_login:
            self.hear("welcome")
        self.hear("ok positions,account")
        self.hear("snapshot")
        assert self.feed.state == "live"
        return self


def states(actions: list[Action]) -> list[str]:
    return [a.event.state for a in actions if isinstance(a, Emit) and isinstance(a.event, FeedStatus)]


def errors(actions: list[Action]) -> list[str | None]:
    return [a.event.error for a in actions if isinstance(a, Emit) and isinstance(a.event, FeedStatus)]


def sent(actions: list[Action]) -> list[str]:
    return [a.text for a in actions if isinstance(a, Send)]


def fetches(actions: list[Action]) -> list[Fetch]:
    return [a for a in actions if isinstance(a, Fetch)]


def events(actions: list[Action]) -> list[object]:
    return [a.event for a in actions if isinstance(a, Emit) and not isinstance(a.event, FeedStatus)]


def disconnect(actions: list[Action]) -> Disconnect:
    (found,) = [a for a in actions if isinstance(a, Disconnect)]
    return found


# --- The way up ---------------------------------------------------------------------------------------------------------


def test_the_whole_way_from_connecting_to_live() -> None:
    stage = Stage()
    assert states(stage.feed.connecting(stage.now)) == ["connecting"]
    assert stage.feed.url == "ws://venue.test/ws?secret=1"

    actions = stage.feed.opened(stage.now, WALL)
    assert states(actions) == ["authenticating"]
    assert sent(actions) == [f"login {WALL}"]

    actions = stage.hear("welcome")
    assert states(actions) == ["subscribing"]
    assert sent(actions) == ["sub positions,account"]

    assert stage.hear("ok positions") == []
    assert stage.hear("ok account") == []
    actions = stage.hear("snapshot")
    assert [type(event) for event in events(actions)] == [PositionsSnapshot]
    assert states(actions) == ["live"]
    # The state is live only after the events that made it so.
    assert isinstance(actions[0], Emit)
    assert isinstance(actions[0].event, PositionsSnapshot)


def test_the_status_says_whose_it_is_and_when_it_last_heard() -> None:
    stage = Stage().live()
    stage.hear("pong", after_ms=500)
    assert stage.feed.status(2000) == FeedStatus(
        id="main:private",
        venue="test",
        env="live",
        account="main",
        connection="private",
        state="live",
        at=2000,
        last_message_at=1500,
    )


def test_without_login_it_subscribes_at_once() -> None:
    stage = Stage(needs_login=False)
    actions = stage.open()
    assert states(actions) == ["connecting", "subscribing"]
    assert sent(actions) == ["sub positions,account"]


def test_with_nothing_to_wait_for_it_is_live_at_once() -> None:
    stage = Stage(needs_login=False, essential=(), snapshot=False)
    assert states(stage.open()) == ["connecting", "subscribing", "live"]


def test_events_that_come_before_all_is_confirmed_are_emitted() -> None:
    stage = Stage()
    stage.open()
    stage.hear("welcome")
    assert len(events(stage.hear("price BTC 1"))) == 1


def test_a_second_welcome_changes_nothing() -> None:
    stage = Stage().live()
    assert stage.hear("welcome") == []


def test_a_link_that_is_no_longer_ready_is_not_live() -> None:
    stage = Stage().live()
    assert states(stage.hear("unready")) == ["subscribing"]
    assert states(stage.hear("snapshot")) == ["live"]


# --- Login --------------------------------------------------------------------------------------------------------------


def test_a_refused_login_stops_the_feed_and_says_what_to_do() -> None:
    stage = Stage()
    stage.open()
    action = disconnect(stage.hear("denied"))
    assert action == Disconnect("login refused: invalid key (50111). Check the key", None)
    actions = stage.feed.closed(4001, "", stage.now)
    assert states(actions) == ["down"]
    assert errors(actions) == ["login refused: invalid key (50111). Check the key"]
    assert stage.feed.deadline() is None
    assert stage.tick(10**9) == []


def test_a_login_that_may_work_later_is_tried_again() -> None:
    stage = Stage()
    stage.open()
    assert disconnect(stage.hear("later")).retry_in_s == 0.25
    stage.feed.closed(None, "", stage.now)
    actions = stage.open()
    assert states(actions) == ["connecting", "authenticating"]
    assert "timestamp expired" in str(errors(actions)[0])


def test_a_login_that_is_not_answered_ends_the_connection() -> None:
    stage = Stage()
    stage.open()
    assert stage.tick(9_999) == []
    assert disconnect(stage.wait()) == Disconnect("login not answered within 10 s", 0.25)
    assert stage.now == 11_000


def test_what_follows_a_refusal_in_the_same_frame_is_not_read() -> None:
    stage = Stage()
    stage.open()
    actions = stage.hear("price BTC 1; denied; price BTC 2; welcome")
    assert [event.value for event in events(actions) if isinstance(event, Price)] == ["1"]
    assert sent(actions) == []


# --- Subscribing --------------------------------------------------------------------------------------------------------


def test_an_essential_topic_that_is_not_confirmed_ends_the_connection() -> None:
    stage = Stage()
    stage.open()
    stage.hear("welcome;ok positions")
    assert disconnect(stage.wait()).why == "not confirmed within 10 s: account"


def test_a_topic_refused_for_now_is_asked_again_after_a_growing_delay() -> None:
    stage = Stage()
    stage.open()
    stage.hear("welcome; ok account")
    delays = []
    for _ in range(3):
        actions = stage.hear("no positions")
        assert errors(actions) in (["positions: too frequent (60014)"], [])
        began = stage.now
        assert sent(stage.wait()) == ["sub positions"]
        delays.append(stage.now - began)
    assert delays == [250, 500, 1000]
    actions = stage.hear("ok positions; snapshot")
    assert states(actions) == ["live"]
    assert errors(actions) == [None]


def test_a_topic_refused_for_good_is_reported_and_never_asked_again() -> None:
    stage = Stage()
    stage.open()
    actions = stage.hear("welcome; ok account; never positions")
    assert errors(actions)[-1] == "positions: unknown channel (60018)"
    assert stage.hear("snapshot;pong") != []
    assert stage.feed.state == "subscribing"  # an account without positions must never look live
    stage.feed.closed(1006, "", stage.now)
    stage.open()
    actions = stage.hear("welcome")
    assert sent(actions) == ["sub account"]
    assert "positions: unknown channel (60018)" in str(stage.feed.status(stage.now).error)


def test_an_essential_topic_that_is_lost_while_live_calls_for_a_new_connection() -> None:
    stage = Stage().live()
    actions = stage.hear("no positions")
    assert states(actions) == ["stale"]
    assert disconnect(actions) == Disconnect("positions: too frequent (60014)", 0.25)


def test_a_confirmed_feed_whose_initial_state_never_comes_tries_again() -> None:
    stage = Stage(ping_every_s=1000, silent_after_s=2000)
    stage.open()
    stage.hear("welcome;ok positions,account")
    assert disconnect(stage.wait()).why == "initial state did not arrive within 30 s"


# --- Wanted marks -------------------------------------------------------------------------------------------------------


def test_wanted_symbols_are_subscribed_with_the_rest() -> None:
    stage = Stage(needs_login=False)
    assert stage.feed.want(["BTC", "ETH", "BTC"], stage.now) == []
    assert sent(stage.open()) == ["sub positions,account,mark:BTC,mark:ETH"]


def test_only_the_difference_is_sent() -> None:
    stage = Stage().live()
    assert stage.feed.want(["BTC", "ETH"], 0) == [Send("sub mark:BTC,mark:ETH")]
    stage.hear("ok mark:BTC,mark:ETH")
    assert stage.feed.want(["ETH", "SOL"], 0) == [Send("unsub mark:BTC"), Send("sub mark:SOL")]
    assert stage.feed.want(["SOL", "ETH"], 0) == []
    assert stage.feed.confirmed == {"positions", "account", "mark:ETH"}


def test_before_the_login_a_wish_only_waits() -> None:
    stage = Stage()
    stage.open()
    assert stage.feed.want(["BTC"], 0) == []
    assert sent(stage.hear("welcome")) == ["sub positions,account,mark:BTC"]


def test_a_wanted_topic_never_holds_the_feed_back_and_is_asked_again() -> None:
    stage = Stage(ping_every_s=1000, silent_after_s=2000)
    stage.feed.want(["BTC"], stage.now)
    stage.live()
    actions = stage.wait()
    assert states(actions) == ["live"]
    assert errors(actions) == ["mark:BTC: not confirmed within 10 s"]
    assert sent(stage.wait()) == ["sub mark:BTC"]
    assert stage.feed.state == "live"
    actions = stage.hear("ok mark:BTC")
    assert stage.feed.status(stage.now).error is None


def test_an_unwanted_topic_that_is_confirmed_late_stays_forgotten() -> None:
    stage = Stage().live()
    stage.feed.want(["BTC"], 0)
    assert stage.feed.want([], 0) == [Send("unsub mark:BTC")]
    stage.hear("ok mark:BTC")
    assert stage.feed.confirmed == {"positions", "account"}


def test_a_topic_that_waits_to_be_asked_again_is_given_up_without_a_frame() -> None:
    stage = Stage().live()
    stage.feed.want(["BTC"], stage.now)
    stage.hear("no mark:BTC")
    assert stage.feed.want([], stage.now) == []


def test_a_symbol_refused_for_good_is_not_asked_again_and_reported_while_it_is_wanted() -> None:
    stage = Stage().live()
    stage.feed.want(["NOPE"], stage.now)
    assert errors(stage.hear("never mark:NOPE")) == ["mark:NOPE: unknown channel (60018)"]
    assert stage.feed.state == "live"
    assert stage.feed.want(["NOPE", "BTC"], stage.now) == [Send("sub mark:BTC")]
    stage.feed.want([], stage.now)
    assert stage.feed.status(stage.now).error is None


def test_what_an_answer_teaches_changes_the_topics() -> None:
    stage = Stage(needs_login=False, essential=(), asks=["/instruments"], snapshot=False)
    stage.feed.want(["BTC"], stage.now)
    actions = stage.open()
    (fetch,) = fetches(actions)
    stage.links[0].prefix = "tickers."
    actions = stage.answer(fetch)
    assert sent(actions) == ["unsub mark:BTC", "sub tickers.BTC"]


# --- Questions ----------------------------------------------------------------------------------------------------------


def bootstrapped(**link: object) -> tuple[Stage, list[Fetch]]:
    stage = Stage(needs_login=False, essential=("positions",), snapshot=False, asks=["/1", "/2", "/3"], **link)
    assert fetches(stage.open()) == []  # Bybit: first subscribed, then asked, so that no change falls between
    return stage, fetches(stage.hear("ok positions"))


def test_the_bootstrap_is_asked_when_all_is_confirmed_and_live_when_all_is_answered() -> None:
    stage, asked = bootstrapped()
    assert [(f.request.path, f.after_s) for f in asked] == [("/1", 0), ("/2", 0), ("/3", 0)]
    assert states(stage.answer(asked[0])) == []
    assert states(stage.answer(asked[1])) == []
    assert states(stage.answer(asked[2])) == ["live"]


def test_answers_are_read_in_the_order_of_the_questions() -> None:
    stage, asked = bootstrapped()
    stage.answer(asked[2], asked_at=30)
    stage.now += 5
    stage.answer(asked[1], asked_at=20)
    assert stage.links[0].answers == []
    stage.now += 5
    stage.answer(asked[0], asked_at=10)
    assert stage.links[0].answers == [("/1", b"", 10, 1010), ("/2", b"", 20, 1005), ("/3", b"", 30, 1000)]


def test_an_ask_of_the_link_is_fetched_and_read_out_of_line() -> None:
    stage, asked = bootstrapped()
    (page,) = fetches(stage.answer(asked[0], b"ask /1?page=2"))
    assert page.request == HttpRequest(path="/1?page=2")
    assert events(stage.answer(page, b"price BTC 1")) != []
    assert len({fetch.number for fetch in (*asked, page)}) == 4


def test_the_initial_state_has_no_time_limit_while_the_venue_is_being_asked() -> None:
    stage, asked = bootstrapped(ping_every_s=1000, silent_after_s=2000)
    assert stage.tick(500_000) == []
    for fetch in asked:
        stage.answer(fetch)
    assert stage.feed.state == "live"


def test_a_question_that_cannot_be_answered_now_is_asked_again_when_the_venue_says() -> None:
    stage, asked = bootstrapped()
    error = Retryable("venue.test", "too many visits", code="10006", after_s=7.5)
    actions = stage.feed.ask_failed(asked[0], error, stage.now)
    assert fetches(actions) == [Fetch(asked[0].request, 7.5, asked[0].number)]
    assert errors(actions) == ["venue.test: too many visits (10006)"]
    assert errors(stage.answer(asked[0])) == [None]


def test_without_a_stated_time_it_backs_off() -> None:
    stage, asked = bootstrapped()
    error = Retryable("venue.test", "busy")
    delays = [fetches(stage.feed.ask_failed(asked[0], error, stage.now))[0].after_s for _ in range(8)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_a_rejected_question_is_reported_and_the_feed_neither_live_nor_spinning() -> None:
    stage, asked = bootstrapped(ping_every_s=1000, silent_after_s=2000)
    actions = stage.feed.ask_failed(asked[0], Rejected("venue.test", "no such thing"), stage.now)
    assert fetches(actions) == []
    assert errors(actions) == ["venue.test: no such thing"]
    stage.answer(asked[1])
    stage.answer(asked[2], b"price BTC 1")
    assert [path for path, *_ in stage.links[0].answers] == ["/2", "/3"]
    assert stage.feed.state == "subscribing"
    assert [type(action) for action in stage.tick(900_000)] == []


def test_a_rejected_ask_of_a_live_feed_is_reported_and_the_feed_stays_live() -> None:
    stage = Stage().live()
    (fetch,) = fetches(stage.hear("ask /x"))
    actions = stage.feed.ask_failed(fetch, Rejected("venue.test", "no such thing"), stage.now)
    assert states(actions) == ["live"]
    assert errors(actions) == ["venue.test: no such thing"]


@pytest.mark.parametrize("kind", [AuthFailed, KeyTooPowerful])
def test_refused_credentials_stop_the_feed(kind: type[AuthFailed]) -> None:
    stage, asked = bootstrapped()
    action = disconnect(stage.feed.ask_failed(asked[1], kind("venue.test", "bad key", do="Make one"), stage.now))
    assert action == Disconnect("venue.test: bad key. Make one", None)
    actions = stage.feed.closed(1000, "", stage.now)
    assert states(actions) == ["down"]
    assert [a for a in actions if isinstance(a, Disconnect)] == []


@pytest.mark.parametrize("body", [b"garbage", b"bug"])
def test_an_answer_that_cannot_be_understood_is_counted_and_asked_again(body: bytes) -> None:
    stage, asked = bootstrapped()
    actions = stage.answer(asked[0], body)
    assert [(f.number, f.after_s) for f in fetches(actions)] == [(asked[0].number, 0.25)]
    assert stage.feed.statistics().malformed == 1
    assert stage.feed.state == "subscribing"
    for fetch in asked:
        stage.answer(fetch)
    assert stage.feed.state == "live"


def test_a_violation_found_by_the_http_check_is_asked_again() -> None:
    stage, asked = bootstrapped()
    assert fetches(stage.feed.ask_failed(asked[0], ProtocolViolation("venue.test", "HTML"), stage.now)) != []


def test_a_late_answer_of_an_ended_connection_is_ignored() -> None:
    stage, asked = bootstrapped()
    stage.feed.closed(1006, "", stage.now)
    stage.open()
    fresh = fetches(stage.hear("ok positions"))
    assert not {fetch.number for fetch in fresh} & {fetch.number for fetch in asked}
    assert stage.answer(asked[0], b"price BTC 1") == []
    assert stage.feed.ask_failed(asked[1], AuthFailed("venue.test", "bad key"), stage.now) == []
    assert stage.links[1].answers == []


def test_an_answer_given_twice_is_read_once() -> None:
    stage, asked = bootstrapped()
    stage.answer(asked[0])
    assert stage.answer(asked[0], b"price BTC 1") == []


def test_questions_are_signed_by_the_link_of_this_connection() -> None:
    stage, asked = bootstrapped()
    assert stage.feed.sign(asked[0].request, 42).headers == (("X-Sign", "signed at 42"),)


# --- Signs of life ------------------------------------------------------------------------------------------------------


def test_it_pings_when_nothing_was_received_and_only_then() -> None:
    stage = Stage().live()
    assert stage.tick(19_999) == []
    assert stage.tick(1) == [Send("ping")]
    stage.hear("pong", after_ms=100)
    assert stage.tick(19_999) == []
    assert stage.tick(1) == [Send("ping")]


def test_silence_makes_it_stale_and_ends_the_connection() -> None:
    stage = Stage().live()
    assert stage.wait() == [Send("ping")]
    actions = stage.wait()
    assert stage.now == 31_000
    assert states(actions) == ["stale"]
    assert disconnect(actions) == Disconnect("nothing received for 30 s", 0.25)
    actions = stage.feed.closed(1006, "", stage.now)
    assert states(actions) == ["down"]
    assert errors(actions) == ["nothing received for 30 s"]


def test_silence_in_the_middle_of_the_way_up_is_seen_too() -> None:
    stage = Stage(needs_login=False, silent_after_s=5, ping_every_s=3)
    stage.open()
    assert stage.wait() == [Send("ping")]
    assert states(stage.wait()) == ["stale"]


def test_a_clock_that_jumps_asks_before_it_kills() -> None:
    stage = Stage().live()
    assert stage.tick(3_600_000) == [Send("ping")]
    stage.hear("pong")
    assert stage.tick(19_999) == []
    assert stage.tick(3_600_000) == [Send("ping")]
    assert states(stage.wait()) == ["stale"]


def test_pings_that_nobody_answers_do_not_put_death_off() -> None:
    stage = Stage(ping_every_s=2, silent_after_s=10).live()
    actions = [stage.wait() for _ in range(5)]
    assert [sent(a) for a in actions[:4]] == [["ping"]] * 4
    assert states(actions[4]) == ["stale"]
    assert stage.now == 11_000


# --- Leaving and coming back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "why"), [("gap", "refresh: a sequence is missing"), ("upgrade", "service upgrade (64008)")]
)
def test_a_gap_and_a_planned_shutdown_call_for_a_new_connection(frame: str, why: str) -> None:
    stage = Stage().live()
    actions = stage.hear(frame)
    assert states(actions) == ["stale"]
    assert disconnect(actions) == Disconnect(why, 0.25)


def test_a_remark_of_the_venue_is_shown_and_nothing_else() -> None:
    stage = Stage().live()
    actions = stage.hear("remark")
    assert states(actions) == ["live"]
    assert errors(actions) == ["maintenance tomorrow (1)"]


@pytest.mark.parametrize(
    ("code", "reason", "why", "retry"),
    [
        (None, "venue.test: connection refused", "venue.test: connection refused", 0.25),
        (1006, "", "connection lost without a close frame", 0.25),
        (4004, "No data received in 30s", "connection closed with code 4004: No data received in 30s", 0.25),
        (1000, "", "connection closed with code 1000", 0.25),
        (4001, "", "login refused: key deleted (4001). Make a new key", None),
        (4002, "busy", "login refused: busy (4002). Make a new key", 0.25),
    ],
)
def test_a_close_says_why_and_whether_to_come_back(
    code: int | None, reason: str, why: str, retry: float | None
) -> None:
    stage = Stage().live()
    actions = stage.feed.closed(code, reason, stage.now)
    assert states(actions) == ["down"]
    assert errors(actions) == [why]
    assert disconnect(actions) == Disconnect(why, retry)


def test_a_connection_that_cannot_be_made_is_down_and_tried_again() -> None:
    stage = Stage()
    stage.feed.connecting(stage.now)
    assert stage.feed.deadline() is None  # how long an attempt may take is the shell's business
    actions = stage.feed.closed(None, "venue.test: connection refused", stage.now)
    assert states(actions) == ["down"]
    assert disconnect(actions).retry_in_s == 0.25


def test_delays_grow_to_the_cap_and_a_long_life_forgives() -> None:
    stage = Stage(fraction=1.0)

    def fail() -> float | None:
        return disconnect(stage.feed.closed(1006, "", stage.now)).retry_in_s

    delays = []
    for _ in range(8):
        stage.open()
        delays.append(fail())
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]
    stage.live()
    stage.now += 59_999
    assert fail() == 30
    stage.live()
    stage.now += 60_000
    assert fail() == 0.5


def test_the_reason_of_the_last_end_is_shown_until_live_again() -> None:
    stage = Stage().live()
    stage.feed.closed(1006, "", stage.now)
    assert set(errors(stage.open())) == {"connection lost without a close frame"}
    actions = stage.hear("welcome;ok positions,account;snapshot")
    assert errors(actions)[-1] is None
    assert stage.feed.status(0).reconnects == 1
    assert stage.feed.statistics().reconnects == 1


def test_after_the_end_nothing_of_that_connection_is_emitted() -> None:
    stage = Stage().live()
    stage.hear("gap")
    assert stage.hear("price BTC 1") == []
    assert stage.tick(100_000) == []
    assert stage.feed.want(["BTC"], stage.now) == []
    assert stage.feed.deadline() is None
    stage.feed.closed(1000, "", stage.now)
    assert stage.hear("price BTC 1") == []
    assert stage.feed.opened(stage.now, WALL) == []
    assert stage.feed.closed(1000, "", stage.now) == []


def test_a_new_connection_starts_from_nothing_but_the_wishes() -> None:
    stage = Stage().live()
    stage.feed.want(["BTC"], stage.now)
    stage.hear("ok mark:BTC")
    stage.feed.closed(1006, "", stage.now)
    stage.open()
    assert len(stage.links) == 2
    assert stage.feed.confirmed == frozenset()
    assert sent(stage.hear("welcome")) == ["sub positions,account,mark:BTC"]


def test_an_operator_gets_a_new_connection_at_once_even_when_the_feed_had_stopped() -> None:
    stage = Stage().live()
    actions = stage.feed.abandon("asked by the operator", stage.now)
    assert states(actions) == ["stale"]
    assert disconnect(actions) == Disconnect("asked by the operator", 0.0)
    assert stage.feed.abandon("again", stage.now) == []
    stage.feed.closed(4001, "", stage.now)
    assert states(stage.open()) == ["connecting", "authenticating"]


# --- Rubbish ------------------------------------------------------------------------------------------------------------


def test_malformed_messages_are_counted_and_reported_and_the_connection_lives() -> None:
    stage = Stage().live()
    actions = stage.hear("<html>; price BTC 1")
    assert errors(actions) == ["malformed: what is '<html>'"]
    assert len(events(actions)) == 1
    assert stage.feed.state == "live"
    counts = stage.feed.statistics()
    assert (counts.malformed, counts.last_malformed) == (1, "what is '<html>'")


def test_a_bug_of_the_codec_costs_one_message() -> None:
    stage = Stage().live()
    actions = stage.hear("bug")
    assert errors(actions) == ["malformed: the codec failed on a message: KeyError: 'size'"]
    assert len(events(stage.hear("price BTC 1"))) == 1


def test_a_flood_of_rubbish_changes_the_status_at_a_bounded_pace_and_size() -> None:
    stage = Stage().live()
    shown = [error for n in range(100) for error in errors(stage.hear(f"{n}" * 5000, after_ms=100))]
    assert len(shown) == 10
    assert max(len(str(error)) for error in shown) <= 300
    assert stage.feed.statistics().malformed == 100


def test_many_refusals_are_told_in_a_few_words() -> None:
    stage = Stage().live()
    stage.feed.want([str(n) for n in range(50)], stage.now)
    error = errors(stage.hear(f"never {','.join(f'mark:{n}' for n in range(50))}"))[-1]
    assert error is not None
    assert error.endswith("mark:3: unknown channel (60018); and 46 more")


def test_a_refusal_of_nothing_in_particular_is_shown() -> None:
    stage = Stage().live()
    assert errors(stage.hear("no")) == ["too frequent (60014)"]


# --- Any order of anything ----------------------------------------------------------------------------------------------

WORDS = (
    "welcome", "denied", "later", "ok positions", "ok account", "ok mark:BTC", "no positions", "no mark:BTC", "never mark:BTC",
    "snapshot", "unready", "price BTC 1", "pong", "remark", "upgrade", "gap", "ask /x", "bug", "?",
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from([b"", b"garbage", b"snapshot", b"ask /y", Retryable("h", "w"), Rejected("h", "w")]),
        st.sampled_from([None, 1006, 4001]),
        st.integers(1, 40_000).map(lambda ms: ("tick", ms)),
        st.sampled_from(
            [("want", ()), ("want", ("BTC",)), ("want", ("BTC", "ETH")), ("connect", 0), ("rise", 0), ("abandon", 0)]
        ),
    ),
    max_size=60,
)


@given(steps, st.floats(0, 1, exclude_max=True))
def test_whatever_happens_the_machine_keeps_its_promises(script: list[object], fraction: float) -> None:
    stage = Stage(asks=["/1", "/2"], fraction=fraction)
    asked: list[Fetch] = []
    ended = True
    for step in script:
        match step:
            case ("connect", _):
                if stage.feed.state != "down":
                    continue
                actions, ended = stage.open(), False
            case ("rise", _):  # straight to live where the refusals of before allow it
                if stage.feed.state != "down":
                    continue
                ended = False
                actions = stage.open() + stage.hear("welcome;ok positions,account;snapshot")
                actions += [a for fetch in fetches(actions) for a in stage.answer(fetch)]
            case ("tick", int(ms)):
                actions = stage.tick(ms)
            case ("want", tuple(symbols)):
                actions = stage.feed.want(symbols, stage.now)
                assert not [a for a in actions if isinstance(a, Emit)]
            case ("abandon", _):
                actions = stage.feed.abandon("x", stage.now)
            case str(word):
                actions = stage.hear(word)
            case bytes(body):
                actions = stage.answer(asked.pop(), body) if asked else []
            case Retryable() | Rejected() as error:
                actions = stage.feed.ask_failed(asked.pop(), error, stage.now) if asked else []
            case code:
                assert code is None or isinstance(code, int)
                actions = stage.feed.closed(code, "", stage.now)
        asked += fetches(actions)
        if ended:
            assert not events(actions)
            assert not sent(actions)
            assert not fetches(actions)
        ends = [a for a in actions if isinstance(a, Disconnect)]
        assert len(ends) <= (0 if ended else 1)
        assert all(end.retry_in_s is None or 0 <= end.retry_in_s <= 30 for end in ends)
        ended = ended or bool(ends)
        assert (stage.feed.deadline() is None) == ended
        if stage.feed.state == "live":
            assert {"positions", "account"} <= stage.feed.confirmed
            assert stage.links[-1].ready


# --- Before connecting --------------------------------------------------------------------------------------------------


def opens(actions: list[Action]) -> bool:
    return Open() in actions


def test_a_link_that_needs_no_preparation_may_be_connected_at_once() -> None:
    assert opens(Stage().feed.connecting(1000))


def test_what_the_address_needs_is_asked_first() -> None:
    stage = Stage(prepares=["/listenKey"])
    actions = stage.feed.connecting(stage.now)
    assert not opens(actions)
    (fetch,) = fetches(actions)
    assert fetch.request.path == "/listenKey"
    retry = stage.feed.ask_failed(fetch, Retryable("host", "busy", after_s=2), stage.now)
    assert [again.after_s for again in fetches(retry)] == [2]
    assert opens(stage.answer(fetch))
    assert stage.links[-1].answers[0][0] == "/listenKey"


def test_a_preparation_that_is_refused_ends_the_attempt() -> None:
    stage = Stage(prepares=["/listenKey"])
    (fetch,) = fetches(stage.feed.connecting(stage.now))
    assert disconnect(stage.feed.ask_failed(fetch, AuthFailed("host", "unknown key"), stage.now)).retry_in_s is None
    stage = Stage(prepares=["/listenKey"])
    (fetch,) = fetches(stage.feed.connecting(stage.now))
    assert disconnect(stage.feed.ask_failed(fetch, Rejected("host", "bad"), stage.now)).retry_in_s == 0.25


# --- Silence per subscription -------------------------------------------------------------------------------------------


def test_an_essential_topic_that_falls_silent_costs_the_connection_though_it_lives() -> None:
    stage = Stage(bounds={"positions": 20.0}, ping_every_s=1000, silent_after_s=2000).live()
    for _ in range(10):
        stage.hear("heard positions", after_ms=5_000)
        assert disconnects(stage.tick(0)) == []
    for _ in range(4):
        stage.hear("price BTC 1", after_ms=4_900)
        stage.tick(0)
    assert stage.feed.state == "live"
    actions = stage.wait()
    assert "positions: silent for 20 s" in disconnect(actions).why
    assert states(actions) == ["stale"]


def test_a_wanted_topic_that_falls_silent_is_subscribed_again() -> None:
    stage = Stage(bounds={"mark:BTC": 10.0}, ping_every_s=1000, silent_after_s=2000).live()
    stage.feed.want(["BTC"], stage.now)
    stage.hear("ok mark:BTC")
    actions = stage.tick(11_000)
    assert sent(actions) == ["unsub mark:BTC"]
    assert "silent" in (errors(actions)[-1] or "")
    assert sent(stage.wait()) == ["sub mark:BTC"]
    stage.hear("ok mark:BTC")
    assert stage.feed.status(stage.now).error is None
    assert stage.feed.state == "live"


def disconnects(actions: list[Action]) -> list[Disconnect]:
    return [action for action in actions if isinstance(action, Disconnect)]


# --- Succeeding ---------------------------------------------------------------------------------------------------------


def test_an_announced_end_asks_for_a_successor_and_the_feed_goes_on() -> None:
    feed = Feed(ScriptedLink, NAME, random=lambda: 0.5, succeeds=True, connections=3)
    feed.connecting(0)
    feed.opened(0, WALL)
    for text in ("welcome", "ok positions,account", "snapshot"):
        feed.received(text, 0)
    actions = feed.received("upgrade", 0)
    assert [action.why for action in actions if isinstance(action, Succeed)] == ["service upgrade (64008)"]
    assert disconnects(actions) == []
    assert feed.state == "live"
    assert events(feed.received("price BTC 1", 1)) != []
    assert feed.status(1).reconnects == 3


def test_a_successor_that_has_not_begun_has_a_status() -> None:
    feed = Feed(ScriptedLink, NAME, random=lambda: 0.5, connections=2)
    status = feed.status(1)
    assert (status.state, status.reconnects, status.error) == ("down", 1, None)


def test_connections_that_come_close_to_the_venues_limit_are_told() -> None:
    stage = Stage().live()
    stage.hear("count positions 3 30")
    assert stage.feed.status(stage.now).error is None
    stage.hear("count positions 29 30")
    assert stage.feed.status(stage.now).error == "positions: 29 of at most 30 connections in use"
