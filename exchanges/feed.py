"""The life of one connection as a pure machine: connecting → authenticating → subscribing → live → stale → down.

Owns when to log in, subscribe, ask by REST, ping, give up and come back. Never does I/O, never reads a clock, never parses:
a ``Link`` translates, the shell (``exchanges.supervisor``) obeys the actions. All moments are integers in milliseconds of
one monotone clock; ``wall_ms`` is the true wall clock, for login signatures alone.

The shell calls, for every connection: ``connecting`` → on ``Open`` ``opened`` (or ``closed`` when it cannot connect) → ``received``
and ``answered`` as they come, ``tick`` at ``deadline()`` → ``closed`` exactly once. After a ``Disconnect`` the machine ignores
everything but ``closed`` and ``connecting``; it emits no event of a connection that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from exchanges.actions import Action, Disconnect, Emit, FeedName, Fetch, Open, Policy, Send, Statistics, Succeed
from exchanges.errors import AuthFailed, ProtocolViolation, Rejected, VenueError
from exchanges.events import FeedState, FeedStatus
from exchanges.pulse import Pulse
from exchanges.questions import Question, Questions
from exchanges.remarks import clip
from exchanges.standing import Standing, closing, login_refused
from exchanges.topics import Topics
from exchanges.venue import (
    Ask,
    ConnectionCount,
    Data,
    Heard,
    HttpRequest,
    Link,
    LinkFactory,
    LoggedIn,
    LoginRefused,
    Malformed,
    Notice,
    Output,
    Refresh,
    Signal,
    Subscribed,
    SubscribeRefused,
)
from exchanges.watchdog import Watchdog


class Feed:
    """One feed: every connection of it, one after the other.

    Args:
        make_link: Makes the dialect of one connection.
        name: The constant part of the feed's status.
        random: Returns uniform fractions in [0, 1), for jitter.
        succeeds: On an announced end of the connection ask for a successor (``Succeed``) and go on until it is live; else
            leave and come back.
        connections: How many connections this feed had before, in the life of a predecessor.
    """

    def __init__(
        self,
        make_link: LinkFactory,
        name: FeedName,
        *,
        random: Callable[[], float],
        policy: Policy | None = None,
        succeeds: bool = False,
        connections: int = 0,
    ) -> None:
        self.name = name
        self._succeeds = succeeds
        self._make_link, self._random, self._policy = make_link, random, policy or Policy()
        self._topics = Topics(_ms(self._policy.subscribe_s), lambda attempt: _ms(self._delay_s(attempt)))
        self._questions = Questions(self._delay_s)
        self._wanted: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # symbols, currencies
        self._standing = Standing(name, connections)
        self._state: FeedState = "down"
        self._ended = True  # no connection, or a Disconnect of this one was given out
        self._failures = 0
        self._why: str | None = None  # why the last connection ended; until live again
        self._barred: str | None = None  # the venue rejected a question of the bootstrap: never live on this connection
        self._out: list[Action] = []

    # --- What the shell may read -----------------------------------------------------------------------------------

    @property
    def state(self) -> FeedState:
        return self._state

    @property
    def url(self) -> str:
        """The address of the connection; after ``connecting``."""
        return self._link.url

    @property
    def confirmed(self) -> frozenset[str]:
        """The topics that the venue has confirmed on this connection."""
        return self._topics.confirmed

    @property
    def refused(self) -> tuple[str, ...]:
        """The topics that the venue refuses, for now or for good, each with the reason."""
        return tuple(self._topics.trouble())

    @property
    def in_use(self) -> tuple[ConnectionCount, ...]:
        """How many connections of the account hold a channel, as far as the venue told this connection."""
        return self._standing.remarks.in_use

    @property
    def connections(self) -> int:
        """How many connections there were, this one included."""
        return self._standing.connections

    def statistics(self) -> Statistics:
        return self._standing.statistics()

    def status(self, now: int) -> FeedStatus:
        """Return the status as it is now, for periodic figures such as the age of the last message."""
        return self._standing.status(self._state, self._reasons(), now)

    def deadline(self) -> int | None:
        """Return the moment at which ``tick`` is due next; None while there is nothing to wait for."""
        if self._ended or self._state == "connecting":
            return None
        pulse = self._pulse
        moments = (
            pulse.ping_due,
            pulse.dead_at,
            self._login_due,
            self._ready_due,
            self._topics.deadline(),
            self._watchdog.due,
        )
        return min(moment for moment in moments if moment is not None)

    def sign(self, request: HttpRequest, wall_ms: int) -> HttpRequest:
        """Return the request signed by this connection's link; to be called at the moment of sending."""
        return self._link.sign(request, wall_ms)

    # --- Inputs ----------------------------------------------------------------------------------------------------

    def connecting(self, now: int) -> list[Action]:
        """Begin a connection: a new link, nothing confirmed, nothing asked."""
        self._link: Link = self._make_link()
        self._pulse = self._new_pulse(now)
        self._standing.begin(now)
        self._ended = False
        self._topics.begin(self._link.topics())
        self._watchdog = Watchdog()
        self._questions.drop_all()
        self._bootstrapped = False
        self._barred = None
        self._login_due: int | None = None
        self._ready_due: int | None = None
        self._live_since: int | None = None
        self._enter("connecting", now)
        for request in self._link.prepare():
            self._out.append(self._questions.ask(request, in_line=True))
        self._open_if_prepared()
        return self._done(now)

    def opened(self, now: int, wall_ms: int) -> list[Action]:
        """The socket is open: log in, or subscribe at once."""
        if self._ended:
            return []
        self._pulse = self._new_pulse(now)
        if self._link.needs_login:
            self._enter("authenticating", now)
            self._login_due = now + _ms(self._policy.login_s)
            self._out.append(Send(self._link.login(wall_ms)))
        else:
            self._subscribe(now)
        return self._done(now)

    def received(self, data: Data, now: int) -> list[Action]:
        """A frame came: its events are emitted before any change of state that it causes."""
        if self._ended:
            return []
        self._standing.received(now)
        self._pulse.heard(now)
        try:
            outputs = self._link.receive(data, now)
        except Exception as bug:  # noqa: BLE001 - a codec promises never to raise: its bug must cost one message, not all feeds
            outputs = [Malformed(what=f"the codec failed on a message: {type(bug).__name__}: {bug}")]
        self._take(outputs, now)
        return self._done(now)

    def answered(self, fetch: Fetch, body: bytes, asked_at: int, now: int) -> list[Action]:
        """The answer to a question came; one that an ended connection asked is ignored."""
        question = self._current(fetch)
        if question is None:
            return []
        question.answer, question.trouble = (body, asked_at, now), None
        self._read_answers(now)
        return self._done(now)

    def ask_failed(self, fetch: Fetch, error: VenueError, now: int) -> list[Action]:
        """The question failed: asked again where that may help, otherwise reported."""
        question = self._current(fetch)
        if question is None:
            return []
        match error:
            case AuthFailed():
                self._leave(str(error), None, now)
            case Rejected():
                self._questions.settle(question)
                # A wrong question stays wrong: the feed says so and does not spin.
                if self._state == "connecting":
                    self._leave(str(error), self._next_delay_s(now), now)
                elif question.in_line:
                    self._barred = str(error)
                else:
                    self._standing.remarks.note(str(error), now)
                self._read_answers(now)
            case _:
                self._out.append(self._questions.again(question, error))
        return self._done(now)

    def want(self, symbols: Iterable[str], now: int, currencies: Iterable[str] = ()) -> list[Action]:
        """State the symbols and currencies whose prices are wanted from now on, on this and every later connection.

        Emits no event.
        """
        self._wanted = (tuple(dict.fromkeys(symbols)), tuple(dict.fromkeys(currencies)))
        self._sync(now)
        return self._flush()

    def tick(self, now: int) -> list[Action]:
        """Do what is due by now; harmless when nothing is."""
        if self._ended or self._state == "connecting":
            return []
        if not self._overdue(now):
            self._ask_topics(self._topics.again(now))
            self._renew_silent(now)
            self._beat(now)
        return self._done(now)

    def abandon(self, why: str, now: int) -> list[Action]:
        """Somebody wants a new connection: leave this one and come back at once."""
        if not self._ended:
            self._leave(why, 0.0, now)
        return self._done(now)

    def closed(self, code: int | None, reason: str, now: int) -> list[Action]:
        """The connection has ended or could not be made; ``code`` is None where the venue sent no close frame."""
        if self._state == "down":
            return []
        retry: Action | None = None
        if not self._ended:
            refusal = self._link.closed(code, reason)
            why = login_refused(refusal) if refusal else closing(code, reason)
            final = refusal is not None and not refusal.retry
            retry = self._end(why, None if final else self._next_delay_s(now))
        self._questions.drop_all()
        self._enter("down", now)
        if retry is not None:
            self._out.append(retry)
        return self._done(now)

    # --- Outputs of the link ---------------------------------------------------------------------------------------

    def _take(self, outputs: Sequence[Output], now: int) -> None:
        for output in outputs:
            if self._ended:  # an earlier output ended the connection: what follows is not to be trusted
                return
            if isinstance(output, Signal):
                self._signal(output, now)
            else:
                self._out.append(Emit(output))
        self._advance(now)

    def _signal(self, signal: Signal, now: int) -> None:
        match signal:
            case LoggedIn():
                if self._state == "authenticating":
                    self._subscribe(now)
            case LoginRefused():
                self._leave(login_refused(signal), self._next_delay_s(now) if signal.retry else None, now)
            case Subscribed():
                self._topics.confirm(signal.topics)
                self._watchdog.begin(signal.topics, now)
            case Heard():
                self._watchdog.heard(signal.topics, now)
            case ConnectionCount():
                self._standing.remarks.count(signal)
            case SubscribeRefused():
                self._refuse(signal, now)
            case Ask():
                self._out.append(self._questions.ask(signal.request, in_line=False))
            case Refresh():
                self._leave(f"refresh: {signal.why}", self._next_delay_s(now), now)
            case Notice():
                self._notice(signal, now)
            case Malformed():
                self._standing.malformed(signal.what, now)

    def _notice(self, notice: Notice, now: int) -> None:
        text = f"{notice.what} ({notice.code})"
        if notice.reconnect and self._succeeds and self._state == "live":
            self._standing.remarks.note(f"to be replaced: {text}", now)
            self._out.append(Succeed(clip(text)))
        elif notice.reconnect:
            self._leave(text, self._next_delay_s(now), now)
        else:
            self._standing.remarks.note(text, now)

    def _refuse(self, refusal: SubscribeRefused, now: int) -> None:
        text = f"{refusal.what} ({refusal.code})"
        lost = self._topics.refuse(refusal.topics, text, refusal.permanent, now)
        self._watchdog.forget(refusal.topics)
        if lost:
            # What it brought since its snapshot may have a hole now: only a new connection is whole again.
            self._leave(f"{', '.join(lost)}: {text}", self._next_delay_s(now), now)
        elif not refusal.topics:
            self._standing.remarks.note(text, now)

    # --- Subscribing and asking ------------------------------------------------------------------------------------

    def _subscribe(self, now: int) -> None:
        self._login_due = None
        self._enter("subscribing", now)
        self._sync(now)
        self._advance(now)

    def _sync(self, now: int) -> None:
        """Ask the venue for exactly the topics that are needed; the rest of them is given back."""
        if self._ended or self._state not in ("subscribing", "live"):
            return
        add, drop = self._topics.aim(self._link.price_topics(*self._wanted), now)
        if drop:
            self._give_back(drop)
        self._watchdog.expect(self._link.watch())
        self._ask_topics(add)

    def _give_back(self, topics: Sequence[str]) -> None:
        self._watchdog.forget(topics)
        self._out.extend(Send(frame) for frame in self._link.unsubscribe(topics))

    def _ask_topics(self, topics: list[str]) -> None:
        if topics:
            self._out.extend(Send(frame) for frame in self._link.subscribe(topics))

    def _current(self, fetch: Fetch) -> Question | None:
        return None if self._ended else self._questions.current(fetch)

    def _read_answers(self, now: int) -> None:
        """Give the link every answer whose turn it is."""
        while not self._ended and (question := self._questions.readable()):
            self._read_answer(question, now)
        self._open_if_prepared()
        # What an answer taught (instruments, say) may change which topics bring the wanted marks.
        self._sync(now)
        self._advance(now)

    def _read_answer(self, question: Question, now: int) -> None:
        assert question.answer is not None
        try:
            outputs = self._link.answer(question.request, *question.answer)
        except ProtocolViolation as violation:
            self._distrust(question, violation, now)
        except Exception as bug:  # noqa: BLE001 - as in received(): a bug of a codec must cost one answer, not all feeds
            what = f"the codec failed on an answer: {type(bug).__name__}: {bug}"
            self._distrust(question, ProtocolViolation(self.name.id, what), now)
        else:
            self._questions.settle(question)
            self._take(outputs, now)

    def _distrust(self, question: Question, violation: ProtocolViolation, now: int) -> None:
        """Count an answer that cannot be understood, and ask again: it is never read as "nothing there"."""
        self._signal(Malformed(what=str(violation)), now)
        self._out.append(self._questions.again(question, violation))

    # --- States ----------------------------------------------------------------------------------------------------

    def _open_if_prepared(self) -> None:
        """Let the shell connect once everything is known that the address needs."""
        if self._state == "connecting" and not (self._ended or self._questions or self._barred):
            self._out.append(Open())

    def _advance(self, now: int) -> None:
        """Go on as far as what has arrived allows: the bootstrap when all topics are settled, live when all is there."""
        if self._ended or self._state not in ("subscribing", "live") or not self._topics.settled:
            return
        if not self._bootstrapped:
            self._bootstrapped = True
            for request in self._link.bootstrap():
                self._out.append(self._questions.ask(request, in_line=True))
        ready = self._link.ready and self._barred is None and not self._topics.crippled
        if ready and self._state == "subscribing":
            self._why, self._live_since = None, now
            self._enter("live", now)
        elif not ready and self._state == "live":
            self._live_since = None
            self._enter("subscribing", now)
        self._watch_ready(ready, now)

    def _watch_ready(self, ready: bool, now: int) -> None:
        """Start the time limit of initial states once nothing else is pending; a feed that cannot become live has none."""
        waiting = not (ready or self._questions or self._barred or self._topics.crippled)
        if not waiting:
            self._ready_due = None
        elif self._ready_due is None:
            self._ready_due = now + _ms(self._policy.ready_s)

    def _overdue(self, now: int) -> bool:
        """Leave the connection where the venue did not do in time what it has to do."""
        policy = self._policy
        late = self._topics.overdue(now)
        if self._login_due is not None and self._login_due <= now:
            why = f"login not answered within {policy.login_s:g} s"
        elif late:
            why = f"not confirmed within {policy.subscribe_s:g} s: {', '.join(late)}"
        elif self._ready_due is not None and self._ready_due <= now:
            why = f"initial state did not arrive within {policy.ready_s:g} s"
        else:
            return False
        self._leave(why, self._next_delay_s(now), now)
        return True

    # --- The pulse and the end -------------------------------------------------------------------------------------

    def _renew_silent(self, now: int) -> None:
        """Replace what a subscription was that brings nothing any more though the connection lives."""
        silent = self._watchdog.silent(now)
        if not silent or self._ended:
            return
        essential = [topic for topic in silent if topic in self._topics.essential]
        if essential:
            why = f"{essential[0]}: silent for {silent[essential[0]]:g} s though the connection lives"
            self._leave(why, self._next_delay_s(now), now, silent=True)
            return
        self._give_back(sorted(silent))
        self._topics.refuse(sorted(silent), "silent though the connection lives; subscribed again", False, now)

    def _new_pulse(self, now: int) -> Pulse:
        return Pulse(_ms(self._link.ping_every_s), _ms(self._link.silent_after_s), now)

    def _beat(self, now: int) -> None:
        if self._pulse.ping_due <= now:
            self._pulse.pinged(now)
            self._out.append(Send(self._link.ping()))
        if self._pulse.dead_at <= now:
            why = f"nothing received for {self._pulse.silent_ms / 1000:g} s"
            self._leave(why, self._next_delay_s(now), now, silent=True)

    def _leave(self, why: str, retry_in_s: float | None, now: int, *, silent: bool = False) -> None:
        """End the connection from our side: stale at once where it was live or silent, down when it is closed."""
        action = self._end(why, retry_in_s)
        if silent or self._state == "live":
            self._enter("stale", now)
        self._out.append(action)

    def _end(self, why: str, retry_in_s: float | None) -> Action:
        self._ended, self._why = True, clip(why)
        return Disconnect(self._why, retry_in_s)

    def _delay_s(self, attempt: int) -> float:
        return self._policy.backoff.delay_s(attempt, self._random())

    def _next_delay_s(self, now: int) -> float:
        """Return the delay before the next connection, and count this one as failed unless it was live for long."""
        if self._live_since is not None and now - self._live_since >= _ms(self._policy.stable_s):
            self._failures = 0
        self._failures += 1
        return self._delay_s(self._failures - 1)

    # --- Status ----------------------------------------------------------------------------------------------------

    def _enter(self, state: FeedState, now: int) -> None:
        self._state = state
        self._show(now)

    def _show(self, now: int) -> None:
        self._out.append(Emit(self._standing.show(self._state, self._reasons(), now)))

    def _reasons(self) -> tuple[str | None, ...]:
        """Return everything that is wrong now: derived, so that nothing stays in it longer than it is true."""
        return (self._why, self._barred, *self._topics.trouble(), *self._questions.trouble())

    def _done(self, now: int) -> list[Action]:
        if not self._ended and not self._standing.is_shown(self._reasons()):
            self._show(now)
        return self._flush()

    def _flush(self) -> list[Action]:
        out, self._out = self._out, []
        return out


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
