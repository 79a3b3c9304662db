"""Citation marks such as [2], [1][3] or [1, 3]: read, removed, renumbered, added."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from factory.mining.citations import citations
from factory.mining.text import sentences

_CLOSING = re.compile(r"[.!?…。！？]+[\"'”’»)\]」』]*$|$")


def cited(text: str) -> tuple[int, ...]:
    """Passage numbers that a text cites, in order of appearance, each once (numbers start at 1)."""
    return tuple(dict.fromkeys(citation.number for citation in citations(text)))


def without_marks(text: str) -> str:
    """The text without its citation marks and the spaces before them."""
    return _replaced(text, None).strip()


def renumbered(text: str, ranks: Mapping[int, int]) -> str:
    """The text with rank `old` cited as rank `new` (ranks start at 0, the marks at 1).

    Raises:
        KeyError: the text cites a rank that is not among `ranks`.
    """
    return _replaced(text, ranks)


def with_marks(text: str, ranks: Sequence[int | None]) -> str:
    """The text with [rank + 1] before the closing punctuation of each sentence; None leaves one as it is.

    Args:
        text: an answer without marks.
        ranks: for each of `factory.mining.text.sentences(text)` the rank of the passage that supports it.
    """
    marked, done = "", 0
    for sentence, rank in zip(sentences(text), ranks, strict=True):
        if rank is None:
            continue
        closing = _CLOSING.search(text, sentence.start, sentence.end)
        at = closing.start() if closing else sentence.end
        marked += f"{text[done:at].rstrip()} [{rank + 1}]"
        done = at
    return marked + text[done:]


def _replaced(text: str, ranks: Mapping[int, int] | None) -> str:
    """Each mark with its numbers mapped; None takes the marks out."""
    parts, done = [], 0
    for (start, end), numbers in groupby(citations(text), key=lambda citation: (citation.start, citation.end)):
        before = text[done:start]
        if ranks is None:
            parts.append(before.rstrip())
        else:
            new = sorted({ranks[citation.number - 1] + 1 for citation in numbers})
            parts.append(f"{before}[{', '.join(map(str, new))}]")
        done = end
    return "".join(parts) + text[done:]
