"""What an ideal answer must fulfil: it is grounded in its contexts, or it is an abstention."""

import re
from collections.abc import Sequence

from factory.dataset.citations import cited, without_marks
from factory.mining.text import content_words, numbers, sentences
from logs_schema.records import Context
from logs_schema.scores import AbstentionDetector, GroundednessScorer

NO_CONTEXTS = "no contexts were logged"
EMPTY_CONTEXT = "a context was logged without its text"
EMPTY_ANSWER = "the ideal answer is empty"
BAD_CITATION = "the ideal answer cites a passage that is not there"
MIXED = 'the ideal answer says "I don\'t know" and answers all the same'
NOT_GROUNDED = "the ideal answer is not supported by its contexts"

_CLAUSE = re.compile(r"[;—–]\s*|,?\s+(?:but|however|though|although|yet|nevertheless)\b,?\s*", re.IGNORECASE)
_POLITE = re.compile(r"(?:please|sorry|i'?m sorry|my apologies|apologies|feel free|let me know)\b", re.IGNORECASE)


def contexts_logged(contexts: Sequence[Context]) -> str | None:
    """Refuse a record of which nobody can say what the model saw."""
    if not contexts:
        return NO_CONTEXTS
    return EMPTY_CONTEXT if any(not context.text.strip() for context in contexts) else None


def citations_in_range(answer: str, contexts: int) -> str | None:
    """Refuse an answer that cites passage 0, or one beyond the last."""
    return BAD_CITATION if any(not 1 <= number <= contexts for number in cited(answer)) else None


def grounded_or_abstention(
    answer: str,
    contexts: Sequence[str],
    *,
    groundedness: GroundednessScorer,
    is_abstention: AbstentionDetector,
    house: str,
    at_least: float,
) -> str | None:
    """Refuse what the contexts do not support: teaching facts by fine-tuning breeds hallucination.

    A wording of "I don't know" exempts only when nothing else is claimed: an answer that disclaims
    and then adds outside knowledge is the worst of all.

    Args:
        answer: the ideal answer, with or without citations.
        contexts: texts of the passages.
        groundedness: support of an answer by passages, 0 to 1.
        is_abstention: tells wordings of "I don't know".
        house: the house wording of "I don't know", which may be anything.
        at_least: support from which an answer counts as grounded.
    """
    plain = without_marks(answer)
    if not plain:
        return EMPTY_ANSWER
    if is_pure_abstention(plain, is_abstention=is_abstention, house=house):
        return None
    if is_abstention(plain):
        return MIXED
    return None if groundedness([(plain, list(contexts))])[0] >= at_least else NOT_GROUNDED


def is_pure_abstention(answer: str, *, is_abstention: AbstentionDetector, house: str) -> bool:
    """Whether a text says that the answer is not known, and claims nothing beside it.

    An apology or an invitation to ask again is no claim; a figure always is one.
    """
    rest = answer.replace(house, "\n")
    if house not in answer and not is_abstention(answer):
        return False
    abstained = house in answer
    for sentence in sentences(rest):
        for clause in _CLAUSE.split(rest[sentence.start : sentence.end]):
            if is_abstention(clause):
                abstained = True
            elif numbers(clause) or not (_POLITE.match(clause) or clause.rstrip().endswith("?")):
                words = len(content_words(clause))
                if numbers(clause) or words >= (1 if abstained else 3):
                    return False
    return True
