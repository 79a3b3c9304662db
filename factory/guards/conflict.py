"""Reviews that contradict each other: nobody can tell here which one is right."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from factory.dataset.citations import without_marks
from factory.mining.text import NEGATIONS, content_words, numbers, tokens
from logs_schema.taxonomy import Decision

DISAGREEMENT = "reviewers disagree about the record"
CONTRADICTION = "near-identical prompts have different answers"
ANSWER_OVERLAP = 0.3
"""Answers to one prompt with fewer shared content words (Jaccard) than this are taken to be different ones."""


def agreed(decisions: Iterable[Decision]) -> str | None:
    """Refuse a record that was decided differently by different reviewers."""
    return DISAGREEMENT if len(set(decisions)) > 1 else None


def same_answer(answers: Sequence[str | None]) -> str | None:
    """Refuse answers (None: abstention) to near-identical prompts that do not say the same.

    They differ when one abstains, when each has a figure that the other lacks, when one negates,
    or when they share few words.
    """
    return CONTRADICTION if any(_differ(one, other) for one, other in combinations(answers, 2)) else None


def _differ(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is not other
    one, other = without_marks(one), without_marks(other)
    figures = [{token.norm for token in numbers(text)} for text in (one, other)]
    if not (figures[0] <= figures[1] or figures[1] <= figures[0]):
        return True
    if _negates(one) != _negates(other):
        return True
    words = [{token.norm for token in content_words(text)} for text in (one, other)]
    union = words[0] | words[1]
    return bool(union) and len(words[0] & words[1]) / len(union) < ANSWER_OVERLAP


def _negates(text: str) -> bool:
    return any(token.norm in NEGATIONS for token in tokens(text))
