"""The leak-free, sticky split: what belongs together stays on one side, and nothing ever moves."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from factory.mining.questions import Words, near_duplicates
from logs_schema.records import content_hash
from logs_schema.taxonomy import Split

Hub = Words | str
"""Something that rows share: a question's words, or an evidence document (`doc:ID` or `text:HASH`)."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the split needs to know of one reviewed record."""

    record_id: str
    words: Words
    documents: frozenset[str]
    """Keys of the documents that hold its answer; empty for an abstention."""
    audit: bool = False

    @property
    def hubs(self) -> tuple[Hub, ...]:
        """All that it shares with others."""
        return (self.words, *sorted(self.documents))


@dataclass(frozen=True, slots=True)
class Place:
    """The side of a row, and the leak group that it shares with its relatives."""

    split: Split
    group: str


@dataclass(frozen=True, slots=True)
class Placements:
    """Where every row went."""

    places: dict[str, Place]
    """Record id → place, for rows that are not in quarantine."""
    quarantined: frozenset[str]
    """Rows related to rows on two sides, or audit rows related to rows that were trained on."""


def place(
    rows: Sequence[Row],
    placed: Mapping[str, Place],
    *,
    near_duplicate: float,
    test_share: float,
    validation_share: float,
    seed: int,
) -> Placements:
    """Put every row on a side so that no relatives are apart, whatever the order of `rows`.

    Relatives are near-duplicate questions and rows that share an evidence document. Rows in
    `placed` keep their side. A new audit row takes the test side and its relatives follow; a row
    that has relatives on two sides is quarantined. A group without a placed or audit row goes
    to a side by the seeded hash of its smallest record id, so the outcome depends on content only.

    Audit rows with an answer pull many relatives along, those without hardly any. So the draw fills
    each kind up to the same share: `test_share`, or what audit rows and their relatives take of all rows
    when that is more. Otherwise the test side would hold too few refusals to tell anything about them.
    """
    ordered = sorted(rows, key=lambda row: row.record_id)
    near = near_duplicates((row.words for row in ordered), near_duplicate)
    sides: dict[Hub, set[Split]] = defaultdict(set)
    side_of: dict[str, Split] = {}
    quarantined: set[str] = set()

    def seen(row: Row) -> set[Split]:
        return {side for hub in (*row.hubs, *near[row.words]) for side in sides.get(hub, ())}

    def settle(row: Row, side: Split) -> None:
        side_of[row.record_id] = side
        for hub in row.hubs:
            sides[hub].add(side)

    def settle_or_quarantine(row: Row, side: Split) -> None:
        if seen(row) <= {side}:
            settle(row, side)
        else:
            quarantined.add(row.record_id)

    for side in (Split.test, Split.validation, Split.train):
        for row in ordered:
            earlier = placed.get(row.record_id)
            if earlier and earlier.split is side:
                # An audit row that was trained on once measures nothing any more.
                if row.audit and side is not Split.test:
                    quarantined.add(row.record_id)
                else:
                    settle_or_quarantine(row, side)
    new = [row for row in ordered if row.record_id not in placed]
    for row in new:
        if row.audit:
            settle_or_quarantine(row, Split.test)
    waiting = [row for row in new if not row.audit]
    while True:
        rest = []
        for row in waiting:
            related = seen(row)
            if len(related) == 1:
                settle(row, next(iter(related)))
            elif related:
                quarantined.add(row.record_id)
            else:
                rest.append(row)
        if len(rest) == len(waiting):
            break
        waiting = rest
    held_out = _held_out(side_of, rows, waiting, test_share)
    for members in _groups(waiting, near):
        answerable = any(row.documents for row in members)
        side = _side(_name(members), held_out[answerable], validation_share, seed)
        for row in members:
            settle(row, side)

    places: dict[str, Place] = {}
    for side in Split:
        settled = [row for row in ordered if side_of.get(row.record_id) is side]
        for members in _groups(settled, near):
            names = [placed[row.record_id].group for row in members if row.record_id in placed]
            group = min(names, default=_name(members))
            places |= {row.record_id: Place(side, group) for row in members}
    return Placements(places, frozenset(quarantined))


def _name(members: Sequence[Row]) -> str:
    return content_hash(["leak group", min(row.record_id for row in members)])


def _held_out(
    side_of: Mapping[str, Split], rows: Sequence[Row], waiting: Sequence[Row], test_share: float
) -> dict[bool, float]:
    """Chance to be held out of a group with an answer (True) and of one without, so that both kinds reach one share."""
    settled = [row for row in rows if row.record_id in side_of]
    tested = [row for row in settled if side_of[row.record_id] is Split.test]
    everything = len(settled) + len(waiting)
    share = max(test_share, len(tested) / everything) if everything else test_share
    chances = {}
    for kind in (True, False):
        inside, out, left = (sum(bool(row.documents) is kind for row in some) for some in (settled, tested, waiting))
        chances[kind] = min(1.0, max(0.0, (share * (inside + left) - out) / left)) if left else 0.0
    return chances


def _side(group: str, test_share: float, validation_share: float, seed: int) -> Split:
    draw = fraction(seed, group)
    if draw < test_share:
        return Split.test
    return Split.validation if draw < test_share + validation_share else Split.train


def fraction(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts only, as if drawn at random."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _groups(rows: Iterable[Row], near: Mapping[Words, tuple[Words, ...]]) -> list[list[Row]]:
    """Connected components of relatives (union-find over rows and what they share)."""
    parent: dict[Hub, Hub] = {}

    def root(hub: Hub) -> Hub:
        parent.setdefault(hub, hub)
        while parent[hub] != hub:
            parent[hub] = parent[parent[hub]]
            hub = parent[hub]
        return hub

    rows = list(rows)
    present = {row.words for row in rows}
    for row in rows:
        for hub in (*row.hubs, *(words for words in near[row.words] if words in present)):
            parent[root(hub)] = root(row.words)
    groups: dict[Hub, list[Row]] = defaultdict(list)
    for row in rows:
        groups[root(row.words)].append(row)
    return sorted(groups.values(), key=lambda members: members[0].record_id)
