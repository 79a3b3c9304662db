"""Citation marks in answers: `[1]`, `[1, 2]`, `[1-3]`, `[1][2]`, `【1】`."""

import re
from bisect import bisect_left
from itertools import islice
from typing import NamedTuple

from factory.mining.text import Sentence, sentences

_NUMBERS = r"\d{1,3}(?:\s*[,;–—-]\s*\d{1,3})*"
_MARK = re.compile(rf"\[\s*\^?\s*({_NUMBERS})\s*\]|【\s*({_NUMBERS})[^】\n]{{0,40}}】")
_MAX_RANGE = 50
_MOST = 1000


class Citation(NamedTuple):
    """One passage number within a mark."""

    number: int
    """Counted from 1, as the passages are."""
    start: int
    end: int


def citations(text: str) -> list[Citation]:
    """Cited numbers in order (the first 1,000), ranges spelled out; `[2017]` is a year, not a citation."""
    every = (
        Citation(number, match.start(), match.end())
        for match in _MARK.finditer(text)
        for number in _numbers(match.group(1) or match.group(2))
    )
    return list(islice(every, _MOST))


def without_citations(text: str) -> str:
    """The text with its citation marks blanked out; every offset stays what it was."""
    return _MARK.sub(lambda match: " " * len(match.group()), text)


def cited_sentences(text: str) -> list[tuple[Citation, Sentence | None]]:
    """Each citation with the sentence that it backs: the words before it, as in "It costs 3. [1]".

    None when there are no words at all.
    """
    cited = citations(text)
    found = sentences(without_citations(text)) if cited else ()
    starts = [sentence.start for sentence in found]
    backed: list[tuple[Citation, Sentence | None]] = []
    for citation in cited:
        after = bisect_left(starts, citation.start)
        before = found[after - 1] if after else None
        if before and "\n" in text[before.end : citation.start] and after < len(found):
            before = None
        backed.append((citation, before or (found[after] if after < len(found) else None)))
    return backed


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"\s*[,;]\s*", inside):
        ends = [int(number) for number in re.split(r"\s*[-–—]\s*", part)]
        first, last = ends[0], ends[-1]
        numbers += range(first, last + 1) if first <= last <= first + _MAX_RANGE else [first, last]
    return numbers
