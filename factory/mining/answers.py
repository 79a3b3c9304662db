"""Whether and where passages hold the answer to a query: shares of what was asked, and the kind of answer wanted."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from factory.mining.idf import idf
from factory.mining.passage import Passage, passage
from factory.mining.text import Token, tokens
from factory.mining.words import NEGATIONS, STOP_WORDS
from logs_schema.records import RagRecord

ENOUGH = 3
"""Topical words of a query that stands alone."""
BORROWED = 0.25
"""Weight of a word that is borrowed from an earlier turn."""
_COUNT_WORDS = frozenset({"many", "much", "long", "old", "far", "tall", "big", "high", "heavy", "fast", "often"})
_DATE_WORDS = frozenset({"when", "year", "date", "wann", "quand", "cuándo", "quando", "wanneer"})
_NAME_WORDS = frozenset({"who", "whom", "whose", "where", "wer", "wo", "où", "quién", "dónde", "chi", "dove", "wie"})
REASONS = frozenset({"because", "due", "reason", "caus", "since", "therefor", "result", "lead", "led"})

Wanted = Literal["figure", "name", "reason"]


class Asking(NamedTuple):
    """What a query asks for."""

    weights: tuple[tuple[str, float], ...]
    """Content word → weight, by how rare it is."""
    pairs: tuple[tuple[str, str], ...]
    """Neighbouring content words of the query itself."""
    wanted: Wanted | None
    """The kind of thing that would answer it; None when that cannot be told."""


class Holding(NamedTuple):
    """How far one passage holds what was asked."""

    coverage: float
    """Weighted share of the query's content words in text and title."""
    sentence: float
    """Share in the best sentence."""
    stretch: float
    """Share in the best two neighbouring sentences."""
    spread: float
    """Mean share of the three best sentences."""
    pairs: float
    """Share of the query's neighbouring content words that stand within three words of each other."""
    rarest: float
    """Weight of the rarest word of the query that the passage does not hold."""
    unlike: float
    """1 when what was asked for (a figure, a name, a reason) is not near the best sentence."""


class Answer(NamedTuple):
    """The stretch of the contexts most likely to answer the query."""

    holding: Holding
    """Of the best passage; all shares 0 when no passage has a word of the query."""
    context: int | None
    """Its rank."""
    at: int | None
    """Its best sentence."""
    words: frozenset[str]
    """Content words of that sentence that the query does not hold: what it adds."""


EXACT = 1e-9
"""More than rounding: no part of a passage's lift exceeds its coverage, so that 2.5 times that bounds the lift."""
NOTHING = Answer(Holding(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0), None, None, frozenset())


def stands_alone(query: Iterable[Token]) -> bool:
    """Whether the words of a query say enough of its topic; otherwise it borrows from earlier turns."""
    return sum(token.weight == 1 for token in query) >= ENOUGH


def asked(record: RagRecord) -> list[tuple[Token, float]]:
    """Words of the query; "and for Cargo?" borrows those of the last two user turns, at a quarter of the weight."""
    own = tokens(record.query)
    if stands_alone(own):
        return [(token, 1.0) for token in own]
    turns = [message.content for message in record.history if message.role == "user"][-2:]
    return [(token, 1.0) for token in own] + [(token, BORROWED) for turn in turns for token in tokens(turn)]


def asking(record: RagRecord) -> Asking:
    """What the query of a record asks for."""
    words = [token.norm for token in tokens(record.query)]
    wanted = _wanted(words)
    weights: dict[str, float] = {}
    for token, share in asked(record):
        if token.is_content and not (wanted == "figure" and token.norm in _COUNT_WORDS):
            weights[token.norm] = max(weights.get(token.norm, 0.0), share * idf(token.norm))
    if not weights:
        weights = dict.fromkeys(words, 1.0)
    content = [word for word in words if word in weights]
    return Asking(tuple(weights.items()), tuple(pairwise(content)), wanted)


def answer_in(record: RagRecord, texts: Sequence[tuple[str, str]]) -> Answer:
    """Where (text, title) pairs come closest to answering the query of a record."""
    query = asking(record)
    weights = dict(query.weights)
    total = sum(weights.values())
    best, most = NOTHING, 0.0
    if not total:
        return best
    for rank, (text, title) in enumerate(texts):
        one = passage(text, title)
        if not one.sentences:
            continue
        coverage = sum(weight for word, weight in weights.items() if one.holds(word))
        if 2.5 * coverage < most - EXACT:
            continue
        shares, stretch = _shares(weights, one)
        at = max(range(len(shares)), key=lambda n: (shares[n], -n))
        top = sorted(shares, reverse=True)[:3]
        spread = sum(top) / len(top)
        lift = coverage + stretch + spread / 2
        if lift > most:
            most = lift
            holding = Holding(
                coverage=coverage / total,
                sentence=shares[at] / total,
                stretch=stretch / total,
                spread=spread / total,
                pairs=_pairs(query.pairs, one, coverage / total),
                rarest=max((weight for word, weight in weights.items() if not one.holds(word)), default=0.0),
                unlike=_unlike(query.wanted, weights, one, at),
            )
            span = one.span(at, at)
            added = (word for word, places in one.places.items() if places & span)
            best = Answer(holding, rank, at, frozenset(added) - weights.keys() - STOP_WORDS - NEGATIONS)
    return best


def of_the_whole(holding: Holding) -> dict[str, float]:
    """The measures by name."""
    return holding._asdict()


def _shares(weights: Mapping[str, float], one: Passage) -> tuple[list[float], float]:
    """Weight of the query's words in each sentence, and in the best two neighbouring ones."""
    shares = [0.0] * len(one.sentences)
    both = [0.0] * len(one.sentences)
    spans = [one.span(number, number) for number in range(len(shares))]
    for word, weight in weights.items():
        places = one.places.get(word, 0)
        before = False
        for number, span in enumerate(spans if places else ()):
            held = bool(places & span)
            if held:
                shares[number] += weight
            if held or before:
                both[number] += weight
            before = held
    return shares, max(both)


def _pairs(pairs: Sequence[tuple[str, str]], one: Passage, alone: float) -> float:
    if not pairs:
        return alone
    held = 0
    for first, second in pairs:
        near, after = one.places.get(first, 0), one.places.get(second, 0)
        around = near << 1 | near << 2 | near << 3 | near >> 1 | near >> 2 | near >> 3
        held += bool(around & after)
    return held / len(pairs)


def _unlike(wanted: Wanted | None, weights: Mapping[str, float], one: Passage, at: int) -> float:
    if wanted is None:
        return 0.0
    span = one.span(at - 1, at + 1)
    if wanted == "reason":
        return float(not any(one.places.get(word, 0) & span for word in REASONS))
    there = (one.figures if wanted == "figure" else one.names) & span
    for word in weights:
        there &= ~one.places.get(word, 0)
    return float(not there)


def _wanted(words: Sequence[str]) -> Wanted | None:
    held = set(words)
    if held & _DATE_WORDS or ("how" in held and held & _COUNT_WORDS):
        return "figure"
    if held & _NAME_WORDS:
        return "name"
    return "reason" if "why" in held else None
