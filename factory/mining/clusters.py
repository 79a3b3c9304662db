"""Which findings ask the same: near-duplicate questions get one cluster, which later nights extend.

The first question of a cluster stands for it, so that clusters cannot grow along chains. The search is the one that
keeps near-duplicates on one side of a dataset's split, and finds every pair.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Engine, Table, and_, bindparam, exists, func, or_, select, update

from factory.mining.questions import NearDuplicates, Words, figures, topic_of
from logs_schema.database import writing
from logs_schema.rows import FINDING, INTERACTION, chunks
from logs_schema.scores import Track, untracked
from logs_schema.tables import QueueItem
from logs_schema.taxonomy import Route

QUEUE: Table = QueueItem.__table__  # type: ignore[attr-defined]
PAGE = 1000


class Questions:
    """The first question of every cluster, searchable by near-duplicates."""

    def __init__(self, near_duplicate: float, frequency: Mapping[str, int]) -> None:
        """Begin with no cluster.

        Args:
            near_duplicate: Jaccard similarity of content words from which on two questions are taken for the same.
            frequency: How often words occur, roughly; decides nothing but the speed.
        """
        # questions with other figures are never the same: those of one wording are not compared with each other
        self._known = defaultdict[Words, NearDuplicates](lambda: NearDuplicates(near_duplicate, frequency))
        self._clusters: dict[Words, str] = {}

    def place(self, name: str, words: Words) -> str:
        """The cluster of a record's question; one that no first question is near to begins its own, by its name."""
        if words in self._clusters:
            return self._clusters[words]
        known = self._known[figures(words)]
        near = [(-similar, self._clusters[other]) for similar, other in known.find(words)]
        if near:
            return min(near)[1]
        known.add(words)
        self._clusters[words] = name
        return name


def cluster_findings(engine: Engine, near_duplicate: float, *, track: Track = untracked) -> int:
    """Give every flagged or queued finding that has none its cluster; one transaction a page, the oldest first.

    Args:
        engine: The store.
        near_duplicate: See `Questions`.
        track: Shows progress over the pages.

    Returns:
        How many findings got one.
    """
    flagged = FINDING.c.route != Route.no_action.value
    queued = exists().where(QUEUE.c.interaction_id == FINDING.c.interaction_id)
    new = and_(FINDING.c.cluster.is_(None), or_(flagged, queued))
    columns = (INTERACTION.c.id, INTERACTION.c.query, INTERACTION.c.history, INTERACTION.c.occurred_at)
    joined = INTERACTION.join(FINDING, FINDING.c.interaction_id == INTERACTION.c.id)
    moment, identifier = INTERACTION.c.occurred_at, INTERACTION.c.id
    wanted = select(*columns).select_from(joined).where(new)
    with engine.connect() as connection:
        waiting = connection.scalar(select(func.count()).select_from(joined).where(new)) or 0
    if not waiting:
        return 0
    known: Questions | None = None
    done, page = 0, wanted
    for _ in track(range(-(-waiting // PAGE)), description="cluster", total=-(-waiting // PAGE)):
        with writing(engine) as connection:
            rows = connection.execute(page.order_by(moment, identifier).limit(PAGE)).all()
            asked = [(row.id, topic_of(row.query, row.history)) for row in rows]
            known = known or _founders(engine, near_duplicate, asked)
            values = [{"record": name, "asks": known.place(name, words)} for name, words in asked]
            if values:
                statement = update(FINDING).where(FINDING.c.interaction_id == bindparam("record"))
                connection.execute(statement.values(cluster=bindparam("asks")), values)
        done += len(rows)
        if rows:
            at, last = rows[-1].occurred_at, rows[-1].id
            page = wanted.where(or_(moment > at, and_(moment == at, identifier > last)))
    return done


def _founders(engine: Engine, near_duplicate: float, first: Sequence[tuple[str, Words]]) -> Questions:
    """The clusters that there are; the first page of new questions beside them shows which words are frequent."""
    founders = [pair for some in _first_questions(engine) for pair in some]
    known = Questions(near_duplicate, Counter(word for _, words in (*founders, *first) for word in words))
    for cluster, words in founders:
        known.place(cluster, words)
    return known


def _first_questions(engine: Engine) -> Iterator[list[tuple[str, Words]]]:
    """(Cluster, words) of its first question, or of another when that record is gone."""
    with engine.connect() as connection:
        kept = select(FINDING.c.cluster, func.min(FINDING.c.interaction_id)).where(FINDING.c.cluster.is_not(None))
        others = {row[0]: row[1] for row in connection.execute(kept.group_by(FINDING.c.cluster))}
    for some in chunks(sorted(others)):
        with engine.connect() as connection:
            wanted = INTERACTION.c.id.in_([*some, *(others[cluster] for cluster in some)])
            query = select(INTERACTION.c.id, INTERACTION.c.query, INTERACTION.c.history).where(wanted)
            asked = {row.id: topic_of(row.query, row.history) for row in connection.execute(query)}
        yield [(cluster, asked.get(cluster) or asked[others[cluster]]) for cluster in some]
