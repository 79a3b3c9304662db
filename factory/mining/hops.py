"""Questions that one passage alone cannot answer: they compare or join things, or their words lie in several passages.

Rules over wording and words, without a model: a hint for the work list, never a failure by itself.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from factory.mining.answers import asked
from factory.mining.passage import Passage
from factory.mining.text import normalise
from logs_schema.records import RagRecord

_ASKS = r"(?:what|which|who|whom|whose|when|where|why|how)"
_JOINS = re.compile(
    rf"""
    \b(?:compare[ds]?|comparison|versus|vs)\b
  | \b(?:differences?|unterschiede?|différences?|diferencias?|differenz[ae]|verschil(?:len)?|diferenças?)\b
  | \b(?:respectively|as\ well\ as|both)\b
  | \b(?:more|less|\w{{3,}}er)\b\ (?:\w+\ ){{0,3}}(?:than\b|,?\ \S+\ or\b)
  | \b(?:which|who)\ (?:\w+\ ){{0,4}}(?:more|less|first|earlier|later|longer|\w{{3,}}er)\b.*\bor\b
  | \b{_ASKS}\b[^?]*\band\ {_ASKS}\b
  | \?[^?]*\b{_ASKS}\b[^?]*\?
    """,
    re.VERBOSE,
)
"""Wordings that compare two things or ask two questions at once."""
LOW = 0.7
"""A single passage that covers more of the question's words is taken to be about all of it."""
ADDED = 0.2
"""Share of the question's words that a second passage, of another document, must add to the best one."""


class Hops(NamedTuple):
    """Why a question needs more than one passage."""

    wording: str | None
    """What in the question joins or compares things."""
    parts: tuple[int, int] | None
    """Ranks of two passages of different documents that together hold much more of the question than any alone."""


def read_hops(record: RagRecord, found: Sequence[Passage]) -> Hops | None:
    """Signs that a question needs several documents; None without any.

    Args:
        record: The question and its contexts.
        found: Features of the contexts.
    """
    weights: dict[str, float] = {}
    for token, share in asked(record):
        weights[token.norm] = max(weights.get(token.norm, 0.0), share * token.weight)
    total = sum(weights.values())
    if not total:
        return None
    held = [{word for word in weights if one.holds(word)} for one in found]
    alone = max((_sum(weights, words) for words in held), default=0.0) / total
    if alone > LOW:
        return None
    joins = _JOINS.search(normalise(record.query).casefold())
    wording = joins.group().strip() if joins else None
    documents = [context.doc_id or context.text for context in record.contexts]
    pairs = [
        (_sum(weights, held[one] | held[other]) / total, -one, -other)
        for one, other in combinations(range(len(found)), 2)
        if documents[one] != documents[other]
    ]
    together, one, other = max(pairs, default=(0.0, 0, 0))
    parts = (-one, -other) if together - alone >= ADDED and together > LOW else None
    return Hops(wording, parts) if wording or parts else None


def _sum(weights: dict[str, float], words: set[str]) -> float:
    return sum(weights[word] for word in words)
