"""Scores from words and from the meaning of sentences: the embeddings stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from factory.mining.answers import ENOUGH
from factory.mining.citations import without_citations
from factory.mining.claims import SHORT
from factory.mining.combination import Fit, shipped
from factory.mining.encoder import Encoder
from factory.mining.lexical import Reading, read, scores_of
from factory.mining.text import tokens
from factory.mining.vectors import PassageEncoder, passage_encoder
from logs_schema.records import RagRecord
from logs_schema.scores import Scorer, Scores
from logs_schema.settings import HouseSettings

if TYPE_CHECKING:
    from factory.mining.encoder import Vectors


MEASURES = ("meaning", "meaning_worst", "closest", "closest_three")
"""What this stage measures beside words."""


class Wordings(NamedTuple):
    """What of a record has to be encoded beside its passages."""

    query: str
    claims: tuple[str, ...]


def semantic_scorer(
    house: HouseSettings, encode: Encoder, passages: PassageEncoder | None = None, fit: Fit | None = None
) -> Scorer:
    """A scorer that compares meanings beside words.

    Args:
        house: Its wording of "I don't know" counts as abstention, beside the common ones.
        encode: Encodes queries and responses.
        passages: Encodes passages, see `vectors.kept_vectors`; without keeping anything when None.
        fit: Turns measures into probabilities; the package's own when None.
    """
    judge = fit or shipped("semantic")
    of_passages = passages or passage_encoder(encode)

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        readings = [read(record, house) for record in records]
        measured = similarities(records, readings, encode, of_passages)
        return [
            scores_of(record, reading, judge, extra)
            for record, reading, extra in zip(records, readings, measured, strict=True)
        ]

    return score


def similarities(
    records: Sequence[RagRecord], readings: Sequence[Reading], encode: Encoder, of_passages: PassageEncoder
) -> list[dict[str, float]]:
    """Cosines of each record's claims and query with the sentences of its passages.

    `meaning`: closest sentence or two neighbouring ones, mean over claims by weight; `meaning_worst`: of the worst
    claim; `closest`: of the query to a sentence; `closest_three`: mean of its three closest in one passage.
    """
    import numpy as np

    held = of_passages([context.text for record in records for context in record.contexts if context.text.strip()])
    said = [_wordings(record, reading) for record, reading in zip(records, readings, strict=True)]
    distinct = sorted({text for one in said for text in (one.query, *one.claims) if text})
    rows = encode(distinct) if distinct else np.zeros((0, 1), np.float32)
    vector_of = dict(zip(distinct, np.asarray(rows, np.float32), strict=True))
    found = []
    for record, reading, one in zip(records, readings, said, strict=True):
        there = [held[context.text] for context in record.contexts if context.text.strip()]
        there = [vectors for vectors in there if len(vectors)]
        measured = dict.fromkeys(MEASURES, 0.0)
        if there and one.claims:
            measured |= _meaning(np.stack([vector_of[text] for text in one.claims]), there, reading)
        if there and one.query:
            near = [np.sort(vectors @ vector_of[one.query])[::-1][:3] for vectors in there]
            measured["closest"] = float(max(cosines[0] for cosines in near))
            measured["closest_three"] = float(max(cosines.mean() for cosines in near))
        found.append(measured)
    return found


def _meaning(said: "Vectors", there: "list[Vectors]", reading: Reading) -> dict[str, float]:
    import numpy as np

    best = np.zeros(len(said), np.float32)
    for vectors in there:
        best = np.maximum(best, (said @ vectors.T).max(axis=1))
        if len(vectors) > 1:
            both = vectors[:-1] + vectors[1:]
            both /= np.linalg.norm(both, axis=1, keepdims=True) + 1e-9
            best = np.maximum(best, (said @ both.T).max(axis=1))
    weights = np.array([claim.weight for claim in reading.judged])
    full = weights >= SHORT
    return {
        "meaning": float(best @ weights / weights.sum()),
        "meaning_worst": float(best[full].min() if full.any() else best.min()),
    }


def _wordings(record: RagRecord, reading: Reading) -> Wordings:
    plain = without_citations(record.response)
    query = record.query
    if sum(token.weight == 1 for token in tokens(query)) < ENOUGH:
        turns = [message.content for message in record.history if message.role == "user"]
        query = " ".join([*turns[-1:], query])
    return Wordings(query.strip(), tuple(plain[claim.sentence.start : claim.sentence.end] for claim in reading.judged))
