"""The scorers' measures of words, written down as they are defined: row by row, word by word, nothing kept.

`mining.py` measures how much faster the product computes them, and that it gets the same values.
"""

from collections.abc import Sequence
from itertools import pairwise

from factory.mining import answers
from factory.mining.answers import asking
from factory.mining.citations import without_citations
from factory.mining.claims import FAULTS, MOST, SHORT, SLACK
from factory.mining.idf import idf
from factory.mining.passage import REACH
from factory.mining.text import Token, by_sentence, sentences, tokens
from factory.mining.words import NEGATIONS
from logs_schema.records import RagRecord


class Plain:
    """One passage: its words, sentence by sentence."""

    def __init__(self, text: str, title: str) -> None:
        found = tokens(text)
        places = sentences(text)
        self.words = [token.norm for token in found]
        self.title = [token.norm for token in tokens(title)]
        starts = [next((n for n, t in enumerate(found) if t.start >= place.start), len(found)) for place in places]
        self.bounds = list(pairwise([*starts, len(found)]))
        self.sentences = [self.words[first:end] for first, end in self.bounds]
        self.denied = [_denied(found[first:end]) for first, end in self.bounds]
        self.figures = [token.is_number for token in found]
        self.names = [
            not token.is_number and text[token.start].isupper() and n not in starts for n, token in enumerate(found)
        ]

    def holds(self, word: str) -> bool:
        """Whether text or title hold the word."""
        return word in self.words or word in self.title


def faithfulness_measures(record: RagRecord) -> dict[str, float]:
    """As `claims.whole(claims.claims(…))`; empty when nothing is claimed."""
    found = [Plain(context.text, context.title or "") for context in record.contexts]
    text = without_citations(record.response)
    places = sentences(text)[:MOST]
    judged = [
        _claim(text, place.start, within, found)
        for place, within in zip(places, by_sentence(tokens(text), places), strict=True)
        if any(token.is_content for token in within)
    ]
    if not judged:
        return {}
    total = sum(weight for _, weight in judged)
    full = [one for one, weight in judged if weight >= SHORT] or [one for one, _ in judged]
    measured = {}
    for name in judged[0][0]:
        measured[name] = sum(one[name] * weight for one, weight in judged) / total
        measured[f"{name}_worst"] = (max if name in FAULTS else min)(one[name] for one in full)
    return measured


def _claim(text: str, start: int, within: Sequence[Token], found: list[Plain]) -> tuple[dict[str, float], float]:
    norms = [token.norm for token in within]
    words = [token.norm for token in within if token.is_content]
    distinct = list(dict.fromkeys(words))
    total = sum(idf(word) for word in distinct)
    length = sum(idf(word) for word in words)
    absent = [word for word in distinct if not any(one.holds(word) for one in found)]
    coverage = 1 - sum(idf(word) for word in absent) / total
    best, turned = 0.0, False
    for one in found:
        for sentence, theirs in zip(one.sentences, one.denied, strict=True):
            share = sum(idf(word) for word in distinct if word in sentence)
            if share > best + 1e-12:
                best, turned = share, _turned(within, norms, sentence, theirs)
    size = int(SLACK * len(norms)) + 2
    window = 0.0
    for one in found:
        for first in range(len(one.words)):
            stretch = one.words[first : first + size]
            window = max(window, sum(idf(word) for word in distinct if word in stretch))
    pairs = [any(_stands(norms[n : n + 2], one.words) for one in found) for n in range(len(norms) - 1)]
    triples = [any(_stands(norms[n : n + 3], one.words) for one in found) for n in range(len(norms) - 2)]
    paired = sum(pairs) / len(pairs) if pairs else coverage
    names = {token.norm for token in within if token.is_content and text[token.start].isupper() and token.start > start}
    measures = {
        "coverage": coverage,
        "sentence": best / total,
        "window": window / total,
        "pairs": paired,
        "triples": sum(triples) / len(triples) if triples else paired,
        "order": max((_common(norms, one.words, [1.0] * len(norms)) for one in found), default=0.0) / len(norms),
        "chain": max((_common(words, one.words, [idf(word) for word in words]) for one in found), default=0.0) / length,
        "rarest": max((idf(word) for word in absent), default=0.0),
        "figures": float(any(word[0].isdigit() for word in absent)),
        "names": sum(name in absent for name in names) / len(names) if names else 0.0,
        "negation": float(turned),
    }
    return measures, length


def _denied(within: Sequence[Token]) -> list[str]:
    after = [within[n + 1 : n + 1 + REACH] for n, token in enumerate(within) if token.norm in NEGATIONS]
    following = [next((token for token in some if token.is_content), None) for some in after]
    return [token.norm for token in following if token]


def _turned(within: Sequence[Token], norms: list[str], sentence: list[str], theirs: list[str]) -> bool:
    here, there = (any(word in NEGATIONS for word in words) for words in (norms, sentence))
    if here == there:
        return False
    return any(word in sentence for word in _denied(within)) if here else any(word in norms for word in theirs)


def _stands(run: list[str], words: list[str]) -> bool:
    return any(words[n : n + len(run)] == run for n in range(len(words) - len(run) + 1))


def _common(one: list[str], other: list[str], weights: list[float]) -> float:
    """Heaviest common subsequence, by the textbook."""
    before = [0.0] * (len(other) + 1)
    for word, weight in zip(one, weights, strict=True):
        row = [0.0]
        for n, there in enumerate(other):
            row.append(before[n] + weight if word == there else max(before[n + 1], row[n]))
        before = row
    return before[-1]


def sufficiency_measures(record: RagRecord) -> dict[str, float]:
    """As `answers.of_the_whole(answers.answer_in(…).holding)`."""
    query = asking(record)
    weights = dict(query.weights)
    total = sum(weights.values())
    best, measured = 0.0, answers.of_the_whole(answers.NOTHING.holding)
    for context in record.contexts if total else ():
        one = Plain(context.text, context.title or "")
        if not one.sentences:
            continue
        shares = [sum(weights[word] for word in weights if word in sentence) for sentence in one.sentences]
        both = [
            sum(weights[word] for word in weights if word in [*one.sentences[max(n - 1, 0)], *sentence])
            for n, sentence in enumerate(one.sentences)
        ]
        coverage = sum(weights[word] for word in weights if one.holds(word))
        top = sorted(shares, reverse=True)[:3]
        spread = sum(top) / len(top)
        if coverage + max(both) + spread / 2 > best + 1e-12:
            best = coverage + max(both) + spread / 2
            at = shares.index(max(shares))
            near = [
                sum(
                    1
                    for n, word in enumerate(one.words)
                    if word == first and second in one.words[max(n - 3, 0) : n] + one.words[n + 1 : n + 4]
                )
                > 0
                for first, second in query.pairs
            ]
            measured = {
                "coverage": coverage / total,
                "sentence": shares[at] / total,
                "stretch": max(both) / total,
                "spread": spread / total,
                "pairs": sum(near) / len(near) if near else coverage / total,
                "rarest": max((weights[word] for word in weights if not one.holds(word)), default=0.0),
                "unlike": _unlike(query.wanted, weights, one, at),
            }
    return measured


def _unlike(wanted: answers.Wanted | None, weights: dict[str, float], one: Plain, at: int) -> float:
    if wanted is None:
        return 0.0
    first, last = one.bounds[max(at - 1, 0)][0], one.bounds[min(at + 1, len(one.bounds) - 1)][1]
    if wanted == "reason":
        return float(not any(word in answers.REASONS for word in one.words[first:last]))
    kind = one.figures if wanted == "figure" else one.names
    return float(not any(kind[n] and one.words[n] not in weights for n in range(first, last)))
