"""How far passages support each sentence of a response: shares that lengths and numbers of passages do not move."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from operator import mul
from typing import NamedTuple

from factory.mining.citations import without_citations
from factory.mining.envelope import values_only
from factory.mining.idf import idf
from factory.mining.passage import Passage, bits, denied, passage
from factory.mining.text import Sentence, Token, by_sentence, sentences, tokens

MOST = 200
"""Sentences of a response that are judged; a longer one is a loop of the model or an attack."""
WORDY = 300
"""Words of a sentence that are judged; a longer one is no sentence."""
OFTEN = 50
"""Places of a word in a passage at which a sentence is compared with it."""
SHORT = 1.5
"""A sentence with less weight (about two rare words) is too short to decide alone that a response is unsupported."""
SLACK = 1.5
"""The best window of a passage is this much longer than the sentence it is compared with."""


class Measures(NamedTuple):
    """Support of one sentence, or of a whole response; each share is weighted by how rare the words are."""

    coverage: float
    """Share of the words that some passage holds."""
    sentence: float
    """Share that the closest sentence of a passage holds."""
    window: float
    """Share that the closest stretch of about its own length holds."""
    pairs: float
    """Share of neighbouring words that are neighbours in a passage (not weighted, function words too)."""
    triples: float
    """The same of three words in a row."""
    order: float
    """Longest common subsequence with a passage, function words too, over the sentence's words."""
    chain: float
    """Heaviest common subsequence of content words with a passage: what is said in the same order."""
    rarest: float
    """Weight of the rarest word that no passage holds."""
    figures: float
    """1 when no passage holds some figure or date of it."""
    names: float
    """Share of its capitalised words that no passage holds."""
    negation: float
    """1 when it denies a word that the closest sentence affirms, or the other way round."""


class Claim(NamedTuple):
    """One sentence of a response."""

    sentence: Sentence
    measures: Measures
    weight: float
    """Summed weight of its content words."""
    context: int | None
    """Rank of the passage with the closest sentence; None when nothing is shared."""
    place: Sentence | None
    """That sentence of the passage."""
    missing: tuple[str, ...]
    """Its figures, names and other content words that no passage holds, as written."""
    words: tuple[str, ...]
    """Its words (of the first 300) in comparable form: sentences with the same ones say the same."""


class Near(NamedTuple):
    """What one passage has in common with a sentence."""

    sentence: float
    at: int | None
    window: float
    chain: float
    order: int


def claims(
    response: str, texts: Sequence[tuple[str, str]], only: tuple[Sentence, ...] | None = None
) -> tuple[Claim, ...]:
    """Each sentence of a response (of the first 200) that has content words; citation marks, and the keys and sources
    of a response in JSON, are left out.

    Args:
        response: The answer.
        texts: (text, title) of its contexts.
        only: Sentences to look at; all of them when None.
    """
    found = [passage(text, title) for text, title in texts]
    plain = without_citations(values_only(response))
    places = (sentences(plain) if only is None else only)[:MOST]
    held = frozenset[str]().union(*(one.places for one in found), *(one.title for one in found))
    return tuple(
        _claim(plain, place, within[:WORDY], found, held)
        for place, within in zip(places, by_sentence(tokens(plain), places), strict=True)
        if any(token.is_content for token in within[:WORDY])
    )


def whole(judged: Sequence[Claim]) -> dict[str, float]:
    """Measures of a response: the mean over its sentences by weight, and as `…_worst` its worst sentence.

    Short sentences do not count as the worst when there is another one.
    """
    weights = [claim.weight for claim in judged]
    total = sum(weights)
    every = zip(*(claim.measures for claim in judged), strict=True)
    full = [claim.measures for claim in judged if claim.weight >= SHORT] or [claim.measures for claim in judged]
    measured = {}
    for name, values, counted in zip(Measures._fields, every, zip(*full, strict=True), strict=True):
        measured[name] = sum(map(mul, values, weights)) / total
        measured[f"{name}_worst"] = (max if name in FAULTS else min)(counted)
    return measured


def alone(claim: Claim) -> dict[str, float]:
    """The same of one sentence."""
    return dict(zip(_NAMES, claim.measures * 2, strict=True))


_NAMES = (*Measures._fields, *(f"{name}_worst" for name in Measures._fields))
FAULTS = frozenset({"rarest", "figures", "names", "negation"})
"""Measures that speak against a sentence; all others speak for it."""


def _claim(
    text: str, place: Sentence, within: Sequence[Token], found: Sequence[Passage], held: frozenset[str]
) -> Claim:
    norms = tuple(token.norm for token in within)
    content = [token for token in within if token.is_content]
    words = [token.norm for token in content]
    weights = {word: idf(word) for word in words}
    total, length = sum(weights.values()), sum(weights[word] for word in words)
    absent = weights.keys() - held
    runs = _Runs(len(norms))
    near = []
    for one in found:
        rows = [one.places.get(word, 0) for word in norms]
        runs.add(rows)
        near.append(_near(rows, words, weights, one))
    sentence = max((one.sentence for one in near), default=0.0)
    context = next((rank for rank, one in enumerate(near) if one.sentence == sentence), None) if sentence else None
    at = near[context].at if context is not None else None
    coverage = 1 - sum(weight for word, weight in weights.items() if word in absent) / total
    pairs = runs.pairs(coverage)
    names = {token.norm for token in content if text[token.start].isupper() and token.start > place.start}
    closest = found[context] if context is not None else None
    measures = Measures(
        coverage=coverage,
        sentence=sentence / total,
        window=max((one.window for one in near), default=0.0) / total,
        pairs=pairs,
        triples=runs.triples(pairs),
        order=max((one.order for one in near), default=0) / len(norms),
        chain=max((one.chain for one in near), default=0.0) / length,
        rarest=max((weights[word] for word in absent), default=0.0),
        figures=float(any(word[0].isdigit() for word in absent)),
        names=len(names & absent) / len(names) if names else 0.0,
        negation=float(closest is not None and at is not None and _contradicts(within, closest, at)),
    )
    written = dict.fromkeys(text[token.start : token.end] for token in content if token.norm in absent)
    where = closest.sentences[at] if closest and at is not None else None
    return Claim(place, measures, length, context, where, tuple(written), norms)


def _contradicts(within: Sequence[Token], one: Passage, at: int) -> bool:
    """One of the two sentences holds a negation, of a word that the other one affirms."""
    own, theirs = denied(within), one.denied[at]
    if (own is None) is (theirs is None):
        return False
    span = one.span(at, at)
    held = {token.norm for token in within}
    return any(one.places.get(word, 0) & span for word in own) if own else not held.isdisjoint(theirs or ())


def _near(rows: Sequence[int], words: list[str], weights: dict[str, float], one: Passage) -> Near:
    """The closest sentence and window, and the common subsequences, of one passage; `rows` has each word's places."""
    where = {word: list(islice(bits(one.places[word]), OFTEN)) for word in weights if word in one.places}
    hits = sorted((at, word) for word, places in where.items() for at in places)
    sentence, at = _best_sentence(hits, weights, one)
    return Near(
        sentence, at, _best_window(hits, weights, int(SLACK * len(rows)) + 2), _chain(words, where, weights),
        _order(rows, one.size),
    )  # fmt: skip


def _best_sentence(hits: list[tuple[int, str]], weights: dict[str, float], one: Passage) -> tuple[float, int | None]:
    best, place, number, end = 0.0, None, 0, 0
    held: set[str] = set()
    share = 0.0
    for at, word in hits:
        if at >= end:
            number = bisect_left(one.starts, at + 1) - 1
            if number < 0:
                continue
            end, held, share = one.starts[number + 1], set(), 0.0
        if word not in held:
            held.add(word)
            share += weights[word]
            if share > best:
                best, place = share, number
    return best, place


def _best_window(hits: list[tuple[int, str]], weights: dict[str, float], size: int) -> float:
    best, share, first = 0.0, 0.0, 0
    held: dict[str, int] = {}
    for at, word in hits:
        held[word] = held.get(word, 0) + 1
        if held[word] == 1:
            share += weights[word]
        while hits[first][0] <= at - size:
            gone = hits[first][1]
            held[gone] -= 1
            if not held[gone]:
                share -= weights[gone]
            first += 1
        best = max(best, share)
    return best


def _chain(words: list[str], where: dict[str, list[int]], weights: dict[str, float]) -> float:
    """Weight of the heaviest common subsequence: only ends of chains that no lighter, earlier one beats are kept."""
    ends: list[int] = []
    heavy: list[float] = []
    for word in words:
        for at in reversed(where.get(word, ())):
            before = bisect_left(ends, at)
            weight = weights[word] + (heavy[before - 1] if before else 0.0)
            after = before
            while after < len(ends) and heavy[after] <= weight:
                after += 1
            if after > before or before == len(ends) or ends[before] > at:
                ends[before:after], heavy[before:after] = [at], [weight]
    return heavy[-1] if heavy else 0.0


def _order(rows: Sequence[int], size: int) -> int:
    """Length of the longest common subsequence, a passage at a time (Hyyrö 2004, bit-parallel LCS)."""
    full = (1 << size) - 1
    row = full
    for places in rows:
        if match := row & places:
            row = ((row + match) | (row - match)) & full
    return size - row.bit_count()


class _Runs:
    """Which neighbouring words of a sentence, two and three in a row, are neighbours in some passage."""

    def __init__(self, size: int) -> None:
        self._pairs = [False] * (size - 1)
        self._triples = [False] * (size - 2)

    def add(self, rows: Sequence[int]) -> None:
        """Look at one passage, given the places of each word of the sentence in it."""
        before, last = 0, rows[0]
        for at, places in enumerate(rows[1:]):
            pair = last << 1 & places
            if pair:
                self._pairs[at] = True
                if before << 1 & places:
                    self._triples[at - 1] = True
            before, last = pair, places

    def pairs(self, single: float) -> float:
        """Share of two in a row; that of `single` words for a sentence of one."""
        return sum(self._pairs) / len(self._pairs) if self._pairs else single

    def triples(self, pairs: float) -> float:
        """Share of three in a row; that of `pairs` for a sentence of two."""
        return sum(self._triples) / len(self._triples) if self._triples else pairs
