"""Which of the contexts hold an answer, sentence by sentence."""

from collections.abc import Sequence

from factory.dataset.citations import cited, with_marks, without_marks
from factory.mining.text import content_words, sentences
from logs_schema.records import Context, PromptTemplate, passage_hash
from logs_schema.scores import GroundednessScorer

MIN_WORDS = 2
"""A sentence with fewer content words ("Yes.") is supported by nearly any passage and shows nothing."""


def cite(
    answer: str,
    contexts: Sequence[Context],
    template: PromptTemplate,
    *,
    groundedness: GroundednessScorer,
    at_least: float,
) -> tuple[str, tuple[int, ...]]:
    """The answer with citations, and the ranks of the contexts that hold it.

    A curator's own citations are taken as they are. Otherwise every sentence is scored against
    every single context: the best one is evidence, and is cited where it supports the sentence at
    `at_least`. Without passage numbers in the template nothing is cited.

    Args:
        answer: a grounded ideal answer whose citations, if any, are in range.
        contexts: the logged contexts, at least one.
        template: how the contexts are shown to the model.
        groundedness: support of an answer by passages, 0 to 1.
        at_least: support from which a passage is cited.
    """
    own = cited(answer)
    if own:
        return answer.strip(), tuple(sorted(number - 1 for number in own))
    plain = without_marks(answer)
    stretches = [plain[sentence.start : sentence.end] for sentence in sentences(plain)]
    telling = [len(content_words(stretch)) >= MIN_WORDS for stretch in stretches]
    if stretches and not any(telling):
        telling[0] = True
    support = groundedness([(stretch, [context.text]) for stretch in stretches for context in contexts])
    evidence: set[int] = set()
    marks: list[int | None] = []
    for at, tells in enumerate(telling):
        scores = support[at * len(contexts) : (at + 1) * len(contexts)]
        best = max(range(len(contexts)), key=lambda rank: (scores[rank], -rank))
        if tells and scores[best] > 0:
            evidence.add(best)
        marks.append(best if tells and scores[best] >= at_least else None)
    completion = with_marks(plain, marks) if "{n}" in template.passage else plain
    return completion, tuple(sorted(evidence or range(len(contexts))))


def supports(
    answer: str, passages: Sequence[str], *, groundedness: GroundednessScorer, at_least: float
) -> tuple[bool, ...]:
    """For each passage alone, whether it supports the answer or one telling sentence of it."""
    plain = without_marks(answer)
    parts = [plain[sentence.start : sentence.end] for sentence in sentences(plain)]
    claims = list(dict.fromkeys([plain, *(part for part in parts if len(content_words(part)) >= MIN_WORDS)]))
    scores = groundedness([(claim, [passage]) for passage in passages for claim in claims])
    return tuple(
        any(score >= at_least for score in scores[at * len(claims) : (at + 1) * len(claims)])
        for at in range(len(passages))
    )


def documents(contexts: Sequence[Context], evidence: Sequence[int]) -> frozenset[str]:
    """Keys of the evidence documents: their ids, and the passages themselves whatever they are called."""
    keys = {f"text:{passage_hash(contexts[rank].text)}" for rank in evidence}
    return frozenset(keys | {f"doc:{contexts[rank].doc_id}" for rank in evidence if contexts[rank].doc_id})
