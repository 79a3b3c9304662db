"""How far passages support each sentence of a response: shares that lengths and numbers of passages do not move."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

from factory.mining.citations import without_citations
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


class Near(NamedTuple):
    """What one passage has in common with a sentence."""

    sentence: float
    at: int | None
    window: float
    chain: float
    order: int


def claims(response: str, texts: Sequence[tuple[str, str]], only: tuple[Sentence, ...] | None = None) -> list[Claim]:
    """Each sentence of a response (of the first 200) that has content words; citation marks are left out.

    Args:
        response: The answer.
        texts: (text, title) of its contexts.
        only: Sentences to look at; all of them when None.
    """
    return list(_claims(response, tuple(texts), only))


@lru_cache(maxsize=1024)
def _claims(response: str, texts: tuple[tuple[str, str], ...], only: tuple[Sentence, ...] | None) -> tuple[Claim, ...]:
    """Cached, because the evidence of a finding is read off what was scored shortly before."""
    found = [passage(text, title) for text, title in texts]
    plain = without_citations(response)
    places = (sentences(plain) if only is None else only)[:MOST]
    return tuple(
        _claim(plain, place, within[:WORDY], found)
        for place, within in zip(places, by_sentence(tokens(plain), places), strict=True)
        if any(token.is_content for token in within[:WORDY])
    )


def whole(judged: Sequence[Claim]) -> dict[str, float]:
    """Measures of a response: the mean over its sentences by weight, and as `…_worst` its worst sentence.

    Short sentences do not count as the worst when there is another one.
    """
    total = sum(claim.weight for claim in judged)
    full = [claim.measures for claim in judged if claim.weight >= SHORT] or [claim.measures for claim in judged]
    measured = {}
    for at, name in enumerate(Measures._fields):
        measured[name] = sum(claim.measures[at] * claim.weight for claim in judged) / total
        measured[f"{name}_worst"] = (max if name in FAULTS else min)(measures[at] for measures in full)
    return measured


FAULTS = frozenset({"rarest", "figures", "names", "negation"})
"""Measures that speak against a sentence; all others speak for it."""


def _claim(text: str, place: Sentence, within: Sequence[Token], found: Sequence[Passage]) -> Claim:
    norms = [token.norm for token in within]
    content = [token for token in within if token.is_content]
    words = [token.norm for token in content]
    weights = {word: idf(word) for word in words}
    total, length = sum(weights.values()), sum(weights[word] for word in words)
    absent = {word for word in weights if not any(one.holds(word) for one in found)}
    best = Near(0.0, None, 0.0, 0.0, 0)
    context = None
    for rank, one in enumerate(found):
        near = _near(norms, words, weights, one)
        if near.sentence > best.sentence:
            context = rank
            best = best._replace(sentence=near.sentence, at=near.at)
        best = best._replace(
            window=max(best.window, near.window),
            chain=max(best.chain, near.chain),
            order=max(best.order, near.order),
        )
    coverage = 1 - sum(weights[word] for word in absent) / total
    pairs = _held_pairs(norms, found)
    names = {token.norm for token in content if text[token.start].isupper() and token.start > place.start}
    closest = found[context] if context is not None else None
    measures = Measures(
        coverage=coverage,
        sentence=best.sentence / total,
        window=best.window / total,
        pairs=coverage if pairs is None else pairs,
        triples=_held_triples(norms, found, coverage if pairs is None else pairs),
        order=best.order / len(norms),
        chain=best.chain / length,
        rarest=max((weights[word] for word in absent), default=0.0),
        figures=float(any(word[0].isdigit() for word in absent)),
        names=len(names & absent) / len(names) if names else 0.0,
        negation=float(closest is not None and best.at is not None and _contradicts(within, closest, best.at)),
    )
    written = dict.fromkeys(text[token.start : token.end] for token in content if token.norm in absent)
    where = closest.sentences[best.at] if closest and best.at is not None else None
    return Claim(place, measures, length, context, where, tuple(written))


def _contradicts(within: Sequence[Token], one: Passage, at: int) -> bool:
    """One of the two sentences holds a negation, of a word that the other one affirms."""
    own, theirs = denied(within), one.denied[at]
    if (own is None) is (theirs is None):
        return False
    span = one.span(at, at)
    held = {token.norm for token in within}
    return any(one.places.get(word, 0) & span for word in own) if own else not held.isdisjoint(theirs or ())


def _near(norms: list[str], words: list[str], weights: dict[str, float], one: Passage) -> Near:
    """The closest sentence and window, and the common subsequences, of one passage."""
    where = {word: list(islice(bits(one.places[word]), OFTEN)) for word in weights if word in one.places}
    hits = sorted((at, word) for word, places in where.items() for at in places)
    sentence, at = _best_sentence(hits, weights, one)
    return Near(
        sentence, at, _best_window(hits, weights, int(SLACK * len(norms)) + 2), _chain(words, where, weights),
        _order(norms, one),
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


def _order(norms: list[str], one: Passage) -> int:
    """Length of the longest common subsequence, a passage at a time (Hyyrö 2004, bit-parallel LCS)."""
    full = (1 << one.size) - 1
    row = full
    for word in norms:
        match = row & one.places.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return one.size - row.bit_count()


def _held_pairs(norms: list[str], found: Sequence[Passage]) -> float | None:
    """Share of neighbouring words that are neighbours in a passage; None for a sentence of one word."""
    if len(norms) < 2:
        return None
    held = 0
    for first, second in pairwise(norms):
        held += any(one.places.get(first, 0) << 1 & one.places.get(second, 0) for one in found)
    return held / (len(norms) - 1)


def _held_triples(norms: list[str], found: Sequence[Passage], shorter: float) -> float:
    if len(norms) < 3:
        return shorter
    held = 0
    for first, second, third in zip(norms, norms[1:], norms[2:], strict=False):
        held += any(
            one.places.get(first, 0) << 2 & one.places.get(second, 0) << 1 & one.places.get(third, 0) for one in found
        )
    return held / (len(norms) - 2)
