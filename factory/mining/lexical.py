"""Scores from words alone: how far contexts support a response, and whether they hold the answer to the query.

Every measure is a share, so that neither lengths nor the number of passages leak in, and depends on nothing but the
record: the same record scores the same in any batch, order or store. A fitted combination turns the measures into a
probability; what it was fitted on stands in `fitted/MODEL_CARD.md`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from factory.mining.abstention import Abstention, read_abstention
from factory.mining.answers import Answer, answer_in, of_the_whole
from factory.mining.citations import Citation, citations, cited_sentences, without_citations
from factory.mining.claims import Claim, alone, claims, whole
from factory.mining.combination import Combination, Fit, shipped
from factory.mining.passage import Passage, passages
from factory.mining.text import by_sentence, tokens
from logs_schema.records import Context, RagRecord
from logs_schema.scores import Scorer, Scores
from logs_schema.settings import HouseSettings

CITED = 0.4
"""A cited passage supports its sentence when it holds this share of the sentence's content words …"""
CITED_TO_BEST = 0.6
"""… and this share of what the best passage holds."""


class Reading(NamedTuple):
    """What words alone say of a record, before it is put into numbers."""

    abstention: Abstention
    judged: tuple[Claim, ...]
    """Its claims: of a refusal only those that stand beside it."""
    answer: Answer
    miscited: tuple[list[Citation], list[Citation]]
    """As `unsupported_citations` tells them."""


def texts_of(contexts: Iterable[Context]) -> list[tuple[str, str]]:
    """(text, title) of each passage."""
    return [(context.text, context.title or "") for context in contexts]


@lru_cache(maxsize=1024)
def read(record: RagRecord, house: HouseSettings) -> Reading:
    """Compare response and query of a record with its passages; cached: stages and diagnosis need it."""
    texts = texts_of(record.contexts)
    abstention = read_abstention(record.response, house.abstention, record.query)
    only = abstention.claims if abstention.abstains else None
    miscited = unsupported_citations(record.response, passages(record.contexts))
    return Reading(abstention, claims(record.response, texts, only), answer_in(record, texts), miscited)


def unsupported_citations(response: str, found: Sequence[Passage]) -> tuple[list[Citation], list[Citation]]:
    """Citations that are out of range, and citations whose passage does not support their sentence."""
    backed = cited_sentences(response)
    if not backed:
        return [], []
    places = sorted({place for _, place in backed if place})
    split = by_sentence(tokens(without_citations(response)), places)
    words_of = {
        place: {token.norm for token in within if token.is_content} for place, within in zip(places, split, strict=True)
    }
    outside, unsupported = [], []
    for citation, place in backed:
        words = words_of[place] if place else set()
        if not 1 <= citation.number <= len(found):
            outside.append(citation)
        elif words:
            shares = [sum(map(one.holds, words)) / len(words) for one in found]
            if shares[citation.number - 1] < max(CITED, CITED_TO_BEST * max(shares)):
                unsupported.append(citation)
    return outside, unsupported


def lexical_scorer(house: HouseSettings, fit: Fit | None = None) -> Scorer:
    """A scorer that needs no model and no corpus.

    Args:
        house: Its wording of "I don't know" counts as abstention, beside the common ones.
        fit: Turns measures into probabilities; the package's own when None.
    """
    judge = fit or shipped("lexical")

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        return [scores_of(record, read(record, house), judge) for record in records]

    return score


def groundedness(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    """Faithfulness of (answer, context texts) pairs, in order; 0 for an answer that claims nothing."""
    judge = shipped("lexical").faithfulness
    return [_support(claims(answer, [(text, "") for text in texts]), judge) or 0.0 for answer, texts in pairs]


def answered(answer: Answer) -> float:
    """Sufficiency of the passage that an answer was found in, by words alone."""
    return shipped("lexical").sufficiency.probability(of_the_whole(answer.holding))


def claimed(claim: Claim) -> float:
    """Faithfulness of one claim for itself, by words alone."""
    return shipped("lexical").faithfulness.probability(alone(claim))


def held_by(
    record: RagRecord, answer: Answer, judge: Combination, extra: dict[str, float] | None = None
) -> float | None:
    """Sufficiency of a record's contexts; 0 without any, None when they have no text.

    Args:
        record: The interaction.
        answer: What comes closest to answering it in them.
        judge: Turns measures into a probability.
        extra: More measures than words alone give, by name.
    """
    if any(context.text.strip() for context in record.contexts):
        return judge.probability(of_the_whole(answer.holding) | (extra or {}))
    return None if record.contexts else 0.0


def scores_of(record: RagRecord, reading: Reading, judge: Fit) -> Scores:
    """The reading in numbers.

    Args:
        record: The interaction.
        reading: What was read off it.
        judge: Turns measures into probabilities.
    """
    readable = any(context.text.strip() for context in record.contexts)
    answer = reading.answer
    held = {token.norm for token in tokens(record.response)}
    cited = citations(record.response)
    outside, unsupported = reading.miscited
    return Scores(
        faithfulness=_support(reading.judged, judge.faithfulness) if readable else None,
        sufficiency=held_by(record, reading.answer, judge.sufficiency),
        abstained=reading.abstention.abstains if record.response.strip() else None,
        citations=tuple(citation.number for citation in cited),
        citation_validity=1 - (len(outside) + len(unsupported)) / len(cited) if cited and readable else None,
        query_coverage=answer.holding.coverage if readable else None,
        completeness=len(answer.words & held) / len(answer.words) if readable and answer.words else None,
    )


def _support(judged: Sequence[Claim], judge: Combination) -> float | None:
    return judge.probability(whole(judged)) if judged else None
