"""Plain contradictions: another figure than the passage gives of the same thing, or its very words with a negation.

They are told beside the scores, because in the sum of these many shared words outweigh one wrong figure. Of 26
responses of BEGIN, Q² and WiCE dev that show one, people call 22 unsupported.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple

from factory.mining.citations import without_citations
from factory.mining.claims import Claim
from factory.mining.idf import idf
from factory.mining.numerals import GAP
from factory.mining.text import NEGATIONS, Token, tokens
from logs_schema.records import Context

ON_TOPIC = 0.5
"""Share of the claim beside the figure, by how rare the words are, that the passage's sentence says too."""
VERBATIM = 0.8
"""From this share on another figure contradicts, even if the passages have it elsewhere, of something else."""
SAME_WORDS = 0.8
"""Share of the passage's sentence that a claim says when it is its negation."""
_TIMES = tuple(map(Decimal, (7, 12, 24, 52, 60, 365)))
"""What a week, a year, a day and an hour have of days, months and the like."""
_YEARS = range(1000, 2101)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_IN_PARTS = re.compile(r"\d(?:\s[,.]\s?|[,.]\s)\d{3}\b|\b\d{4}\s?[-‐‑–/]\s?\d\d\b")
"""Numbers that are written in parts: "23 , 768", "2018-19"."""
_TURNING = frozenset(
    {"after", "before", "within", "until", "till", "unless", "except", "only", "if", "than", "over", "under", "about"}
)
"""Words that turn a negation round: what "cannot be returned after 14 days" can be returned within 14 days."""


_ROUGHLY = frozenset(
    {"about", "around", "approximately", "roughly", "nearly", "almost", "over", "etwa", "ungefähr", "rund",
     "environ", "presque", "aproximadamente", "casi", "circa", "quasi", "ongeveer", "bijna", "cerca"}
)  # fmt: skip
_NEAR = Decimal("0.1")
"""How far a rough figure may be off, as a share of the other one."""


class Figure(NamedTuple):
    """A number and what it counts."""

    number: str
    raw: str
    """The number as it is written."""
    unit: str
    """Comparable form of the word after it; empty for a year."""
    written: str
    """Number and unit as they are written."""
    before: str
    """Comparable form of the word before it: "up to 10" is not "from 10"."""


def contradiction(claim: Claim, response: str, query: str, contexts: Sequence[Context]) -> str | None:
    """How a claim contradicts the closest sentence of the passages, in plain words; None when it plainly does not.

    Args:
        claim: A sentence of the response.
        response: The answer.
        query: What was asked: what can be worked out with its figures contradicts nothing.
        contexts: The passages.
    """
    measures = claim.measures
    counted = any(word[:1].isdigit() for word in claim.words) or bool(measures.figures)
    if claim.context is None or claim.place is None or not (counted or measures.negation):
        return None
    said, held = without_citations(response)[slice(*claim.sentence)], contexts[claim.context].text[slice(*claim.place)]
    own, theirs = tokens(said), tokens(held)
    known = [Decimal(token.norm) for token in (*theirs, *tokens(query)) if _NUMBER.fullmatch(token.norm)]
    instead = _figures(held, theirs)
    for figure in _figures(said, own) if counted and instead else ():
        others = [one for one in instead if one.unit == figure.unit and not _says(own, one.number)]
        other = next((one for one in others if one.before == figure.before), others[0] if others else None)
        if other is None or _says(theirs, figure.number) or _worked_out(Decimal(figure.number), known):
            continue
        shared = _shared(own, theirs, figure.unit)
        absent = figure.raw in claim.missing or shared >= VERBATIM or not _given(figure, contexts)
        if absent and shared >= ON_TOPIC and not _rounded(figure, other, own):
            return f'it says "{figure.written}" where [{claim.context + 1}] says "{other.written}"'
    if measures.negation and measures.coverage == 1 and _negates(own, theirs):
        affirms = NEGATIONS.isdisjoint(token.norm for token in own)
        return (
            f"it {'affirms' if affirms else 'denies'} what [{claim.context + 1}] {'denies' if affirms else 'affirms'}"
        )
    return None


def _figures(text: str, found: Sequence[Token]) -> list[Figure]:
    """Numbers with a unit or a currency, and years."""
    in_parts = [match.span() for match in _IN_PARTS.finditer(text)]
    figures = []
    for at, token in enumerate(found):
        start, end = token.start, token.end
        broken = text[end : end + 1].isalpha() or any(first < end and start < last for first, last in in_parts)
        if broken or not _NUMBER.fullmatch(token.norm):
            continue
        following = found[at + 1] if at + 1 < len(found) else token
        before = found[at - 1].norm if at else ""
        near = following.start == start or GAP.fullmatch(text, end, following.start)
        if near and (following.is_content or following.norm == "am") and not following.is_number:
            figures.append(Figure(token.norm, text[start:end], following.norm, text[start : following.end], before))
        elif token.norm.isdigit() and int(token.norm) in _YEARS:
            figures.append(Figure(token.norm, text[start:end], "", text[start:end], before))
    return figures


def _says(within: Sequence[Token], number: str) -> bool:
    return any(token.norm == number for token in within)


def _shared(own: Sequence[Token], theirs: Sequence[Token], unit: str) -> float:
    """Share of the claim beside its figures, by how rare the words are, that the other sentence says too."""
    topic = {token.norm for token in own if token.is_content and not token.is_number} - {unit}
    total = sum(map(idf, topic))
    return sum(map(idf, topic & {token.norm for token in theirs})) / total if total else 0.0


def _given(figure: Figure, contexts: Sequence[Context]) -> bool:
    """Whether some passage has this number of this unit: "6:30" gives no 30 days."""
    return any(
        (figure.number, figure.unit) == (one.number, one.unit)
        for context in contexts
        for one in _figures(context.text, tokens(context.text))
    )


def _worked_out(value: Decimal, known: Sequence[Decimal]) -> bool:
    """Whether it is the sum, difference or product of two figures that were given, or one by the year and the like."""
    if any(one and value == one * times for one in known for times in _TIMES):
        return True
    return any(value in (one + other, abs(one - other), one * other) for one, other in combinations(known, 2))


def _rounded(figure: Figure, other: Figure, own: Sequence[Token]) -> bool:
    off = abs(Decimal(figure.number) - Decimal(other.number))
    return not _ROUGHLY.isdisjoint(token.norm for token in own) and off <= _NEAR * Decimal(other.number)


def _negates(own: Sequence[Token], theirs: Sequence[Token]) -> bool:
    """Whether two sentences, one of which denies a word of the other, say the same words otherwise.

    An opening "no" answers the question, and denies nothing of what follows.
    """
    words, held = ({token.norm for token in some} for some in (own, theirs))
    content = {token.norm for token in theirs if token.is_content} - NEGATIONS
    answers = own[0].norm in NEGATIONS or words & _TURNING != held & _TURNING
    return not answers and sum(map(idf, content & words)) >= SAME_WORDS * sum(map(idf, content)) > 0
