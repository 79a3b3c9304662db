"""Vectors of passages' sentences, computed once per distinct passage and kept in the store."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Table, select

from factory.mining.encoder import Encoder
from factory.mining.passage import passage
from logs_schema.database import writing
from logs_schema.records import passage_hash
from logs_schema.rows import CHUNK, PASSAGE, put
from logs_schema.tables import PassageVectors

if TYPE_CHECKING:
    from factory.mining.encoder import Vectors

VECTORS: Table = PassageVectors.__table__  # type: ignore[attr-defined]
SPLIT = 1
"""Raise it when texts are split or normalised in another way: old vectors are then not used any more."""
FIRST = 200
"""Sentences of a passage that are looked at."""

PassageEncoder = Callable[[Sequence[str]], "dict[str, Vectors]"]
"""Texts of passages in; text → one row per sentence (of the first 200)."""


def passage_encoder(encode: Encoder) -> PassageEncoder:
    """Vectors of passages' sentences, computed anew with every call."""

    def vectors(texts: Sequence[str]) -> "dict[str, Vectors]":
        import numpy as np

        distinct = sorted(set(texts))
        places = [(text, passage(text).sentences[:FIRST]) for text in distinct]
        sentences = [text[place.start : place.end] for text, split in places for place in split]
        # What is kept has half the precision, so what is not kept yet must have it, too.
        rows = np.asarray(encode(sentences) if sentences else np.zeros((0, 1)), np.float16).astype(np.float32)
        ends = np.cumsum([len(split) for _, split in places])[:-1].tolist()
        return dict(zip(distinct, np.split(rows, ends), strict=True)) if distinct else {}

    return vectors


def kept_vectors(engine: Engine, encode: Encoder, model: str) -> PassageEncoder:
    """The same, with what was computed kept in the store's table `passage_vectors`.

    Rows go with their passage when that is forgotten or pruned; the whole table may be emptied at any time.

    Args:
        engine: The store.
        encode: Computes what is missing.
        model: Name of the encoder, part of the key.
    """
    fresh, key = passage_encoder(encode), f"{model}/{SPLIT}"

    def vectors(texts: Sequence[str]) -> "dict[str, Vectors]":
        by_hash = {passage_hash(text): text for text in texts}
        found = _load(engine, key, by_hash)
        missing = fresh([text for text in by_hash.values() if text not in found])
        _save(engine, key, missing)
        return found | missing

    return vectors


def _load(engine: Engine, key: str, by_hash: dict[str, str]) -> "dict[str, Vectors]":
    import numpy as np

    found = {}
    with engine.connect() as connection:
        for some in _chunks(sorted(by_hash)):
            wanted = select(VECTORS.c.passage_hash, VECTORS.c.sentences, VECTORS.c.vectors)
            for row in connection.execute(wanted.where(VECTORS.c.encoder == key, VECTORS.c.passage_hash.in_(some))):
                kept = np.frombuffer(row.vectors, np.dtype("<f2")).astype(np.float32)
                found[by_hash[row.passage_hash]] = kept.reshape(row.sentences, -1)
    return found


def _save(engine: Engine, key: str, made: "dict[str, Vectors]") -> None:
    rows = [
        {
            "passage_hash": passage_hash(text),
            "encoder": key,
            "sentences": len(vectors),
            "vectors": vectors.astype("<f2").tobytes(),
        }
        for text, vectors in sorted(made.items())
        if len(vectors)
    ]
    if not rows:
        return
    with writing(engine) as connection:
        there: set[str] = set()
        for some in _chunks([passage_hash(text) for text in sorted(made)]):
            there |= set(connection.scalars(select(PASSAGE.c.hash).where(PASSAGE.c.hash.in_(some))))
        put(connection, VECTORS, [row for row in rows if row["passage_hash"] in there], replace=False)


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
