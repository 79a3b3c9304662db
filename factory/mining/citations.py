"""Citation marks in answers: `[1]`, `[1, 2]`, `[1-3]`, `[1][2]`, `【1】`."""

import re
from typing import NamedTuple

from factory.mining.text import Sentence, sentences

_NUMBERS = r"\d{1,3}(?:\s*[,;–—-]\s*\d{1,3})*"
_MARK = re.compile(rf"\[\s*\^?\s*({_NUMBERS})\s*\]|【\s*({_NUMBERS})[^】\n]{{0,40}}】")
_MAX_RANGE = 50


class Citation(NamedTuple):
    """One passage number within a mark."""

    number: int
    """Counted from 1, as the passages are."""
    start: int
    end: int


def citations(text: str) -> list[Citation]:
    """Cited numbers in order of appearance, ranges spelled out; `[2017]` is a year, not a citation."""
    return [
        Citation(number, match.start(), match.end())
        for match in _MARK.finditer(text)
        for number in _numbers(match.group(1) or match.group(2))
    ]


def without_citations(text: str) -> str:
    """The text with its citation marks blanked out; every offset stays what it was."""
    return _MARK.sub(lambda match: " " * len(match.group()), text)


def cited_sentence(text: str, citation: Citation) -> Sentence | None:
    """The sentence that a mark backs: the words before it, as in "Costs 3 euros [1]." or "Costs 3 euros. [1]".

    None when there are no words at all.
    """
    found = sentences(without_citations(text))
    before = [sentence for sentence in found if sentence.start < citation.start]
    if before and "\n" not in text[before[-1].end : citation.start]:
        return before[-1]
    after = [sentence for sentence in found if sentence.start >= citation.end]
    return after[0] if after else before[-1] if before else None


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"\s*[,;]\s*", inside):
        ends = [int(number) for number in re.split(r"\s*[-–—]\s*", part)]
        first, last = ends[0], ends[-1]
        numbers += range(first, last + 1) if first <= last <= first + _MAX_RANGE else [first, last]
    return numbers
