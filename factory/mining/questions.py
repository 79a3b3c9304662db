"""Questions as sets of words, and which of them are near-duplicates."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from factory.mining.text import tokens

Words = frozenset[str]
"""Normalised words of a question: case, punctuation and English endings do not count."""


def words_of(question: str) -> Words:
    """The question's word set; one without any word is taken as a whole."""
    return frozenset(token.norm for token in tokens(question)) or frozenset([question.casefold().strip()])


def jaccard(one: Words, other: Words) -> float:
    """Shared words over all words, 0 to 1."""
    return len(one & other) / len(one | other)


def near_duplicates(questions: Iterable[Words], at_least: float) -> dict[Words, tuple[Words, ...]]:
    """For every distinct word set, the others whose Jaccard similarity is at least `at_least`.

    Exact, not approximate, because a missed pair is a leak: two sets that similar must share a
    word among the first n - ceil(t n) + 1 of their n words, rarest first (prefix filtering,
    Chaudhuri et al. 2006, "A Primitive Operator for Similarity Joins in Data Cleaning").
    """
    distinct = sorted(set(questions), key=sorted)
    frequency = Counter(word for words in distinct for word in words)
    holders: dict[str, list[Words]] = defaultdict(list)
    pairs: dict[Words, list[Words]] = {words: [] for words in distinct}
    for words in distinct:
        rarest = sorted(words, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(words) - math.ceil(at_least * len(words) - 1e-9) + 1]
        candidates = {other for word in prefix for other in holders[word]}
        for other in candidates:
            if jaccard(words, other) >= at_least - 1e-9:
                pairs[words].append(other)
                pairs[other].append(words)
        for word in prefix:
            holders[word].append(words)
    return {words: tuple(others) for words, others in pairs.items()}
