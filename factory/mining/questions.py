"""Questions as sets of words, and which of them are near-duplicates."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from factory.mining.answers import stands_alone
from factory.mining.text import content_words, tokens

Words = frozenset[str]
"""Normalised words of a question: case, punctuation and English endings do not count."""


def words_of(question: str) -> Words:
    """The question's word set; one without any word is taken as a whole."""
    return frozenset(token.norm for token in tokens(question)) or frozenset([question.casefold().strip()])


def topic_of(query: str, history: Sequence[Mapping[str, str]] | None = None) -> Words:
    """The content words of a question; a short follow-up ("and for Cargo?") takes in the user's last two turns."""
    found = content_words(query)
    if not stands_alone(found):
        turns = [message["content"] for message in history or () if message["role"] == "user"][-2:]
        found = [*found, *(token for turn in turns for token in content_words(turn))]
    return frozenset(token.norm for token in found) or words_of(query)


def figures(words: Words) -> Words:
    """The figures among the words: questions that differ in one ("error 404") are not the same."""
    return frozenset(word for word in words if word[0].isdigit())


def jaccard(one: Words, other: Words) -> float:
    """Shared words over all words, 0 to 1."""
    return len(one & other) / len(one | other)


def prefix(words: Words, at_least: float, frequency: Mapping[str, int]) -> list[str]:
    """The words of which any set that is similar enough has one among its own.

    Exact, not approximate: two sets whose Jaccard similarity is t must share a word among the first n - ceil(t n) + 1
    of their n words in any fixed order, the rarest first being the fastest (prefix filtering, Chaudhuri et al. 2006,
    "A Primitive Operator for Similarity Joins in Data Cleaning").

    Args:
        words: the set.
        at_least: Jaccard similarity from which on two sets are near-duplicates.
        frequency: how often words occur, roughly; decides nothing but the speed, and is the same for all sets.
    """
    rarest = sorted(words, key=lambda word: (frequency.get(word, 0), word))
    return rarest[: len(words) - math.ceil(at_least * len(words) - 1e-9) + 1]


def near_duplicates(questions: Iterable[Words], at_least: float) -> dict[Words, tuple[Words, ...]]:
    """For every distinct word set, the others whose Jaccard similarity is at least `at_least`.

    Every pair is found, because a missed one is a leak between the sides of a dataset.
    """
    distinct = sorted(set(questions), key=sorted)
    frequency = Counter(word for words in distinct for word in words)
    holders = defaultdict[str, list[Words]](list)
    pairs: dict[Words, list[Words]] = {words: [] for words in distinct}
    for words in distinct:
        shared = prefix(words, at_least, frequency)
        for other in {other for word in shared for other in holders[word]}:
            if jaccard(words, other) >= at_least - 1e-9:
                pairs[words].append(other)
                pairs[other].append(words)
        for word in shared:
            holders[word].append(words)
    return {words: tuple(sorted(others, key=sorted)) for words, others in pairs.items()}
