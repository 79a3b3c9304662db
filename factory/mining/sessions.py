"""What users did after an answer, read off their sessions and kept as `implicit` feedback.

Three signals, each a hint: the same person asked nearly the same again, the record was escalated, or the session
ended right after an answer that had already failed. A signal depends on nothing but the records of one person within
a window of time, so the order in which logs come does not matter: a neighbour that comes late sets its neighbours'
signals anew, and they are mined again.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, select

from factory.mining.questions import Words, jaccard
from factory.mining.settings import SignalSettings
from factory.mining.text import content_words, normalise
from logs_schema.database import writing
from logs_schema.records import Feedback, FeedbackKind, Value, content_hash
from logs_schema.rows import INTERACTION, WATERMARK, after, chunks, put
from logs_schema.scores import Track, untracked
from logs_schema.store import Trace, set_feedback_in
from logs_schema.tables import now
from logs_schema.taxonomy import SESSIONS, Signal
from logs_schema.wording import counted

CODE_VERSION = 2
"""Raise it with every change of code that changes signals: the next run then looks at every session again."""
VALUES = {Signal.escalated: -0.6, Signal.rephrased: -0.5, Signal.abandoned: -0.2}
"""How bad a sign each one is; a thumbs-down is -1."""
DOUBLE_CLICK = timedelta(seconds=3)
"""The very same question this soon after is a double click, not a complaint."""
CROWD = 30
"""More questions of one "person" than this around one of them: a bot or a shared account, of which nothing is read."""
OVERLAP = timedelta(minutes=10)
"""What other commands may have been writing when the last run began is looked at again."""
PAGE = 500


class SignalReport(Value):
    """What reading the sessions did."""

    seen: int
    """Records that came since the last run, and their neighbours."""
    changed: int
    """Records whose signals changed; they are due for mining."""
    rephrased: int
    """Of those seen: their user asked nearly the same again."""
    escalated: int
    abandoned: int

    def text(self) -> str:
        """One sentence."""
        if not self.seen:
            return "Sessions: nothing new."
        signs = [
            counted(self.rephrased, "question was asked again", "questions were asked again"),
            counted(self.escalated, "answer escalated", "answers escalated"),
            counted(self.abandoned, "session given up", "sessions given up"),
        ]
        changed = counted(self.changed, "record")
        return f"Sessions of {counted(self.seen, 'record')}: {', '.join(signs)}; the signals of {changed} changed."


class Turn(NamedTuple):
    """One record, as far as its session matters."""

    at: datetime
    id: str
    trace: Trace
    session: str | None
    user: str | None
    question: str
    words: Words
    failed: bool
    """The application logged an error."""
    tags: frozenset[str]
    imported: datetime

    @property
    def person(self) -> tuple[str, bool, str]:
        """Who asked: the session, else the user, else nobody known."""
        name = self.session or self.user or self.id
        return self.trace.source, self.session is not None, name


def read_sessions(engine: Engine, settings: SignalSettings, *, track: Track = untracked) -> SignalReport:
    """Bring the implicit signals of new records and their neighbours up to date; one transaction a page.

    A killed run begins again where the last whole one ended, and writes nothing twice.

    Args:
        engine: the store.
        settings: window, similarity and tags.
        track: shows progress over the pages.
    """
    began = now()
    step = f"{SESSIONS} {content_hash({'code': CODE_VERSION, **settings.model_dump(mode='json')})}"
    counts = dict.fromkeys(VALUES, 0)
    seen = changed = 0
    with engine.connect() as connection:
        since = connection.scalar(select(WATERMARK.c.moment).where(WATERMARK.c.step == step))
    for page in track(_due(engine, since), description="sessions"):
        with writing(engine) as connection:
            wanted, again = _signals(connection, page, since, settings)
            changed += set_feedback_in(connection, wanted, VALUES)
        for trace in wanted.keys() - again:
            seen += 1
            for event in wanted[trace]:
                counts[Signal(event.identifier)] += 1
    with writing(engine) as connection:
        connection.execute(delete(WATERMARK).where(WATERMARK.c.step.startswith(f"{SESSIONS} ")))
        put(connection, WATERMARK, [{"step": step, "moment": began - OVERLAP}], replace=True)
    return SignalReport(
        seen=seen,
        changed=changed,
        rephrased=counts[Signal.rephrased],
        escalated=counts[Signal.escalated],
        abandoned=counts[Signal.abandoned],
    )


# --- which records --------------------------------------------------------------------------------

_NAMES = ("occurred_at", "id", "source", "source_id", "session_id", "user_id", "query", "error", "tags", "imported_at")
_TURNS = select(*(INTERACTION.c[name] for name in _NAMES))


def _due(engine: Engine, since: datetime | None) -> Iterator[list[Turn]]:
    """What was imported since then, in pages by time."""
    columns = INTERACTION.c
    order = columns.occurred_at, columns.id
    query = _TURNS if since is None else _TURNS.where(columns.imported_at > since)
    page = query.order_by(*order).limit(PAGE)
    while True:
        with engine.connect() as connection:
            turns = [_turn(row) for row in connection.execute(page)]
        if not turns:
            return
        yield turns
        page = query.where(after(turns[-1].at, turns[-1].id)).order_by(*order).limit(PAGE)


def _around(connection: Connection, turns: Sequence[Turn], window: timedelta) -> Iterator[Turn]:
    """The records of the same people, from `window` before the first of the turns to `window` after the last."""
    columns = INTERACTION.c
    when = (columns.occurred_at >= turns[0].at - window, columns.occurred_at <= turns[-1].at + window)
    sessions = {turn.session for turn in turns if turn.session}
    users = {turn.user for turn in turns if turn.user and not turn.session}
    for some in chunks(sorted(sessions)):
        yield from map(_turn, connection.execute(_TURNS.where(columns.session_id.in_(some), *when)))
    for some in chunks(sorted(users)):
        mine = (columns.user_id.in_(some), columns.session_id.is_(None))
        yield from map(_turn, connection.execute(_TURNS.where(*mine, *when)))


def _runs(turns: Sequence[Turn], gap: timedelta) -> Iterator[list[Turn]]:
    """Turns in order of time, split where more than `gap` lies between two: few records then lie between the ends."""
    start = 0
    for n in range(1, len(turns) + 1):
        if n == len(turns) or turns[n].at - turns[n - 1].at > gap:
            yield list(turns[start:n])
            start = n


def _turn(row: Any) -> Turn:
    words = frozenset(token.norm for token in content_words(row.query))
    return Turn(
        at=row.occurred_at,
        id=row.id,
        trace=Trace(row.source, row.source_id),
        session=row.session_id,
        user=row.user_id,
        question=normalise(row.query).casefold(),
        words=words,
        failed=bool(row.error),
        tags=frozenset(tag.casefold() for tag in row.tags or ()),
        imported=row.imported_at,
    )


# --- what they show -------------------------------------------------------------------------------


def _signals(
    connection: Connection, due: Sequence[Turn], since: datetime | None, settings: SignalSettings
) -> tuple[dict[Trace, list[Feedback]], set[Trace]]:
    """Signals of these records, and of those whose signals they may have changed: of the same person, near them.

    And which of them an earlier page, of what was imported since then, has looked at already.
    """
    window = timedelta(minutes=settings.window_minutes)
    near = {turn.id: turn for turn in due}
    for run in _runs(due, 2 * window):
        # twice the window: what is set anew one window away looks one window further
        near |= {turn.id: turn for turn in _around(connection, run, 2 * window)}
    new: dict[object, list[datetime]] = defaultdict(list)
    asked: dict[object, list[Turn]] = defaultdict(list)
    for turn in sorted(due):
        new[turn.person].append(turn.at)
    for turn in sorted(near.values()):
        asked[turn.person].append(turn)
    wanted, again = {}, set[Trace]()
    for person, turns in asked.items():
        moments = [turn.at for turn in turns]
        earlier = [turn.at for turn in turns if turn < due[0] and (since is None or turn.imported > since)]
        for turn in turns:
            if _between(earlier, turn.at - window, turn.at + window):
                again.add(turn.trace)
            if _between(new[person], turn.at - window, turn.at + window):
                first, last = (
                    bisect_left(moments, turn.at - window),
                    bisect_right(moments, turn.at + window),
                )
                wanted[turn.trace] = list(_read(turn, turns[first:last], settings))
    return wanted, again


def _between(moments: Sequence[datetime], first: datetime, last: datetime) -> bool:
    return bisect_left(moments, first) < bisect_right(moments, last)


def _read(turn: Turn, around: Sequence[Turn], settings: SignalSettings) -> Iterator[Feedback]:
    """Signals of one record, from the records of its person around it (itself among them), in order of time."""
    if turn.tags & {tag.casefold() for tag in settings.escalation_tags}:
        yield _event(Signal.escalated, turn.at, "it was escalated to a person")
    if len(around) > CROWD:
        return
    at = around.index(turn)
    before, later = around[:at], around[at + 1 :]
    again = next((other for other in later if _asked_again(turn, other, settings)), None)
    if again:
        seconds = (again.at - turn.at).total_seconds()
        yield _event(Signal.rephrased, again.at, f"the user asked nearly the same again {seconds:.0f} s later")
    elif turn.session and not later:
        if turn.failed:
            yield _event(Signal.abandoned, turn.at, "it failed, and the session ended")
        elif any(_asked_again(other, turn, settings) for other in before):
            yield _event(Signal.abandoned, turn.at, "asked for the second time, and the session ended")


def _asked_again(turn: Turn, later: Turn, settings: SignalSettings) -> bool:
    if turn.at == later.at:
        return False  # which one came first is not known, nor is the time of records without one
    if turn.question == later.question:
        return later.at - turn.at > DOUBLE_CLICK
    if turn.words == later.words:
        return bool(turn.words)
    enough = min(len(turn.words), len(later.words)) >= 2
    return enough and jaccard(turn.words, later.words) >= settings.rephrase_similarity


def _event(signal: Signal, at: datetime, comment: str) -> Feedback:
    return Feedback(
        identifier=signal.value,
        kind=FeedbackKind.implicit,
        value=VALUES[signal],
        label=signal.name,
        comment=comment,
        occurred_at=at,
    )
