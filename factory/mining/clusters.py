"""Which findings ask the same: near-duplicate questions get one cluster, which later nights extend.

The first question of a cluster stands for it, so that clusters cannot grow along chains. A question near to several
goes to the one that was asked first, not to the nearest, which may have come only since the same words were asked last.
The search is the one that keeps near-duplicates on one side of a dataset's split, and finds every pair.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection, Engine, bindparam, exists, func, or_, select, update

from factory.mining.questions import Words, figures, jaccard, prefix, topic_of
from logs_schema.database import writing
from logs_schema.rows import CHUNK, FINDING, INTERACTION, PAGED, QUEUE
from logs_schema.scores import Track, untracked
from logs_schema.scratch import scratch
from logs_schema.taxonomy import Route

PAGE = 500
TABLES = """
CREATE TABLE due (number INTEGER PRIMARY KEY, id TEXT);
CREATE TABLE question (number INTEGER PRIMARY KEY, words TEXT UNIQUE, asked REAL, cluster TEXT);
CREATE TABLE holder (word INTEGER, size INTEGER, number INTEGER, PRIMARY KEY (word, size, number)) WITHOUT ROWID;
"""


class Question(NamedTuple):
    """Of a record, or the first of a cluster."""

    name: str
    """Id of the record, or cluster."""
    words: Words
    asked: float
    """When, in seconds since 1970."""


class Questions:
    """The first question of every cluster, searchable by near-duplicates."""

    def __init__(self, tables: sqlite3.Connection, near_duplicate: float, frequency: Mapping[str, int]) -> None:
        """Begin with no cluster.

        Args:
            tables: an empty `scratch` database with `TABLES`, for there may be millions.
            near_duplicate: Jaccard similarity of content words from which on two questions are taken for the same.
            frequency: How often words occur, roughly; decides nothing but the speed.
        """
        self._tables = tables
        self._at_least = near_duplicate
        self._frequency = frequency

    def place(self, question: Question) -> str:
        """The cluster of a record's question; one that no first question is near to begins its own, by its name."""
        text = json.dumps(sorted(question.words))
        same = self._tables.execute("SELECT cluster FROM question WHERE words = ?", (text,)).fetchone()
        if same:
            return str(same[0])
        # questions with other figures are never the same: those of one wording are not compared with each other
        exact = " ".join(sorted(figures(question.words)))
        keys = [_key(exact, word) for word in prefix(question.words, self._at_least, self._frequency)]
        near = self._near(question.words, keys)
        if near:
            return near
        row = (text, question.asked, question.name)
        number = self._tables.execute("INSERT INTO question (words, asked, cluster) VALUES (?, ?, ?)", row).lastrowid
        rows = [(key, len(question.words), number) for key in keys]
        self._tables.executemany("INSERT OR IGNORE INTO holder VALUES (?, ?, ?)", rows)
        return question.name

    def _near(self, words: Words, keys: Sequence[int]) -> str | None:
        """The cluster whose first question is near and was asked before the others that are."""
        exact = figures(words)
        sizes = self._at_least * len(words) - 1e-6, len(words) / self._at_least + 1e-6
        found = (
            "SELECT asked, cluster, words FROM holder JOIN question USING (number)"
            " WHERE word = ? AND size BETWEEN ? AND ?"
        )
        first: tuple[float, str] | None = None
        for asked, cluster, text in chain.from_iterable(self._tables.execute(found, (key, *sizes)) for key in keys):
            if first is None or (asked, cluster) < first:
                other = frozenset(json.loads(text))
                if jaccard(words, other) >= self._at_least - 1e-9 and figures(other) == exact:
                    first = asked, cluster
        return first and first[1]


def _key(figures_: str, word: str) -> int:
    """Of a word in a question with these figures; two that share one by chance are told apart by their words."""
    return int.from_bytes(blake2b(f"{figures_}\n{word}".encode(), digest_size=8).digest(), signed=True)


def cluster_findings(engine: Engine, near_duplicate: float, *, track: Track = untracked) -> int:
    """Give every flagged or queued finding that has none its cluster; one transaction a page, the oldest first.

    Args:
        engine: The store.
        near_duplicate: See `Questions`.
        track: Shows progress over the pages.

    Returns:
        How many findings got one.
    """
    known: Questions | None = None
    done = 0
    with scratch(TABLES) as tables:
        waiting = _put_down(engine, tables)
        for read in track(range(0, waiting, PAGE), description="cluster", total=-(-waiting // PAGE)):
            page = tables.execute("SELECT id FROM due WHERE number > ? ORDER BY number LIMIT ?", (read, PAGE))
            ids = [name for (name,) in page]
            with writing(engine) as connection:
                found = _asked(connection, ids)
                asked = [found[name] for name in ids if name in found]
                known = known or _founders(engine, tables, near_duplicate, asked)
                values = [{"record": each.name, "asks": known.place(each)} for each in asked]
                if values:
                    statement = update(FINDING).where(FINDING.c.interaction_id == bindparam("record"))
                    connection.execute(statement.values(cluster=bindparam("asks")), values)
            done += len(asked)
    return done


def _put_down(engine: Engine, tables: sqlite3.Connection) -> int:
    """Write the ids of what is due into a table, in their order: sorting them for every page would take ever longer."""
    flagged = FINDING.c.route != Route.no_action.value
    queued = exists().where(QUEUE.c.interaction_id == FINDING.c.interaction_id)
    joined = INTERACTION.join(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    due = select(INTERACTION.c.id).select_from(joined).where(FINDING.c.cluster.is_(None), or_(flagged, queued))
    with engine.connect() as connection:
        rows = connection.execute(due.order_by(INTERACTION.c.occurred_at, INTERACTION.c.id), execution_options=PAGED)
        tables.execute("BEGIN")
        tables.executemany("INSERT INTO due (id) VALUES (?)", ((row.id,) for row in rows))
        tables.execute("COMMIT")
    count: int = tables.execute("SELECT count(*) FROM due").fetchone()[0]
    return count


def _founders(
    engine: Engine, tables: sqlite3.Connection, near_duplicate: float, first: Sequence[Question]
) -> Questions:
    """The clusters that there are; the first page of them and of new questions shows which words are frequent."""
    pages = _first_questions(engine)
    some = next(pages, [])
    known = Questions(tables, near_duplicate, Counter(word for each in (*some, *first) for word in each.words))
    for founder in chain(some, chain.from_iterable(pages)):
        known.place(founder)
    return known


def _asked(connection: Connection, ids: Collection[str]) -> dict[str, Question]:
    """The questions of these records, by record."""
    columns = (INTERACTION.c.id, INTERACTION.c.query, INTERACTION.c.history, INTERACTION.c.occurred_at)
    rows = connection.execute(select(*columns).where(INTERACTION.c.id.in_(ids)))
    return {row.id: Question(row.id, topic_of(row.query, row.history), row.occurred_at.timestamp()) for row in rows}


def _first_questions(engine: Engine) -> Iterator[list[Question]]:
    """The first question of every cluster, or another when that record is gone; a page at a time."""
    kept = select(FINDING.c.cluster, func.min(FINDING.c.interaction_id)).group_by(FINDING.c.cluster)
    last = ""
    while True:
        with engine.connect() as connection:
            page = kept.where(FINDING.c.cluster > last).order_by(FINDING.c.cluster).limit(CHUNK)
            others = {row[0]: row[1] for row in connection.execute(page)}
            if not others:
                return
            asked = _asked(connection, {*others, *others.values()})
        first = ((cluster, asked.get(cluster) or asked[other]) for cluster, other in others.items())
        yield [question._replace(name=cluster) for cluster, question in first]
        *_, last = others
