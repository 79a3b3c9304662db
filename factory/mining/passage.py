"""What a passage holds, in a form in which thousands of claims are compared with it quickly; once per distinct text.

Where a word stands is kept as the bits of one integer, so that pairs, runs and common subsequences are found by
shifts and additions on whole passages instead of loops over their words.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from factory.mining.text import Sentence, Token, sentences, tokens
from factory.mining.words import NEGATIONS
from logs_schema.records import Context

KEPT = 10_000
"""Passages whose features stay in memory: 50 to 70 MB when they have 100 words each (measured)."""
LONGEST = 20_000
"""Words of a passage that are looked at; a longer one is no passage."""

REACH = 4
"""Words after a negation among which it looks for what it denies."""


class Passage(NamedTuple):
    """Features of one passage."""

    title: frozenset[str]
    """Comparable words of the title."""
    places: dict[str, int]
    """Word of the text → the bits of its places, counted in words from 0."""
    size: int
    """Words of the text."""
    sentences: tuple[Sentence, ...]
    starts: tuple[int, ...]
    """Place of the first word of each sentence, and of the end."""
    denied: tuple[frozenset[str] | None, ...]
    """What each sentence denies, see `denied`."""
    figures: int
    """Bits of the places of figures."""
    names: int
    """Bits of the places of capitalised words that do not open a sentence."""

    def span(self, first: int, last: int) -> int:
        """Bits of the words of the sentences from `first` to `last`, as far as they exist."""
        first, last = max(first, 0), min(last, len(self.sentences) - 1)
        return (1 << self.starts[last + 1]) - (1 << self.starts[first])

    def holds(self, word: str) -> bool:
        """Whether text or title hold the word."""
        return word in self.places or word in self.title


@lru_cache(maxsize=KEPT)
def passage(text: str, title: str = "") -> Passage:
    """Features of a passage, cached: production retrieves the same ones again and again."""
    found = tokens(text)[:LONGEST]
    places: dict[str, int] = {}
    figures = capitals = 0
    for at, (norm, start, _) in enumerate(found):
        bit = 1 << at
        places[norm] = places.get(norm, 0) | bit
        if norm[0].isdigit():
            figures |= bit
        elif text[start].isupper():
            capitals |= bit
    split = sentences(text)
    starts, at = [], 0
    for sentence in split:
        while at < len(found) and found[at].start < sentence.start:
            at += 1
        starts.append(at)
    starts.append(len(found))
    openings = 0
    for start in starts[:-1]:
        openings |= 1 << start
    negates = not NEGATIONS.isdisjoint(places)
    denials = (denied(found[first:end]) if negates else None for first, end in pairwise(starts))
    return Passage(
        title=frozenset(token.norm for token in tokens(title)),
        places=places,
        size=len(found),
        sentences=split,
        starts=tuple(starts),
        denied=tuple(denials),
        figures=figures,
        names=capitals & ~openings,
    )


def denied(within: Sequence[Token]) -> frozenset[str] | None:
    """The content word after each negation of a sentence: "is not a heavy metal band" denies `heavy`.

    None for a sentence without a negation.
    """
    negations = [at for at, token in enumerate(within) if token.norm in NEGATIONS]
    if not negations:
        return None
    reached = (within[at + 1 : at + 1 + REACH] for at in negations)
    following = (next((token.norm for token in some if token.is_content), None) for some in reached)
    return frozenset(word for word in following if word)


def passages(contexts: Iterable[Context]) -> list[Passage]:
    """Features of the contexts, in their order."""
    return [passage(context.text, context.title or "") for context in contexts]


def bits(number: int) -> Iterator[int]:
    """Places of the bits that are set, from the lowest."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
