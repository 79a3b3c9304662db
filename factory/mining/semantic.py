"""Sufficiency from words and from the meaning of sentences: the embeddings stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from factory.mining.answers import stands_alone
from factory.mining.combination import Fit, shipped
from factory.mining.encoder import Encoder
from factory.mining.lexical import held_by, read
from factory.mining.text import tokens
from factory.mining.vectors import PassageEncoder, passage_encoder
from logs_schema.records import RagRecord
from logs_schema.scores import Scorer, Scores
from logs_schema.settings import HouseSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from factory.mining.encoder import Vectors

MEASURES = ("closest", "closest_three", "overall")
"""What this stage measures beside words: sufficiency alone; on five judged sets it did not help faithfulness."""


def semantic_scorer(
    house: HouseSettings, encode: Encoder, passages: PassageEncoder | None = None, fit: Fit | None = None
) -> Scorer:
    """A scorer of sufficiency that compares the meaning of query and passages beside words.

    Args:
        house: As for `lexical.read`.
        encode: Encodes queries.
        passages: Encodes passages, see `vectors.kept_vectors`; without keeping anything when None.
        fit: Turns measures into a probability; the package's own when None.
    """
    judge = (fit or shipped("semantic")).sufficiency
    of_passages = passages or passage_encoder(encode)

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        measured = similarities(records, encode, of_passages)
        return [
            Scores(sufficiency=held_by(record, read(record, house).answer, judge, extra))
            for record, extra in zip(records, measured, strict=True)
        ]

    return score


def similarities(records: Sequence[RagRecord], encode: Encoder, of_passages: PassageEncoder) -> list[dict[str, float]]:
    """Cosines of each record's query with the sentences of its passages.

    `closest`: the closest sentence; `closest_three`: mean of the three closest in one passage; `overall`: the mean
    direction of all sentences of a passage.
    """
    import numpy as np

    held = of_passages([context.text for record in records for context in record.contexts if context.text.strip()])
    asked = [_asked(record) for record in records]
    distinct = sorted({query for query in asked if query})
    rows = encode(distinct) if distinct else np.zeros((0, 1), np.float32)
    vector_of = dict(zip(distinct, np.asarray(rows, np.float32), strict=True))
    found = []
    for record, query in zip(records, asked, strict=True):
        there = [held[context.text] for context in record.contexts if context.text.strip()]
        cosines = [_cosines(vectors, vector_of[query]) for vectors in there if query and len(vectors)]
        highest = map(max, zip(*(cosines or [(0.0,) * len(MEASURES)]), strict=True))
        found.append(dict(zip(MEASURES, highest, strict=True)))
    return found


def _cosines(vectors: "Vectors", query: "NDArray[np.float32]") -> tuple[float, ...]:
    import numpy as np

    every = vectors @ query
    length = max(float(np.linalg.norm(vectors.sum(axis=0))), 1e-9)
    return float(every.max()), float(np.sort(every)[-3:].mean()), float(every.sum()) / length


def _asked(record: RagRecord) -> str:
    query = record.query
    if not stands_alone(tokens(query)):
        turns = [message.content for message in record.history if message.role == "user"]
        query = " ".join([*turns[-1:], query])
    return query.strip()
