"""How rare a word is, from a small table in the package: the same in every batch, order and store."""

import json
import math
from functools import cache
from pathlib import Path

from factory.mining.words import STOP_WORDS

TABLE = Path(__file__).parent / "fitted" / "idf.json"
RARE = 5
"""Sentences that must hold a word for it to be in the table: rarer ones count as equally rare."""
FLOOR = 0.02
"""Of a word that is not a function word, so that a text of common words has some weight."""


def idf(word: str) -> float:
    """0 for function words, `FLOOR` to 1 for others: inverse sentence frequency, scaled, in comparable form.

    Frequencies were counted once over the passages named in the model card; a word that is not in the table, such
    as most names and figures, is as rare as can be.
    """
    return _table().get(word, 1.0) if word not in STOP_WORDS else 0.0


def weights_from(counts: dict[str, int], sentences: int) -> dict[str, float]:
    """The table from counts of sentences that hold a word, to three digits."""
    scale = math.log(sentences / RARE)
    return {
        word: round(max(FLOOR, math.log(sentences / count) / scale), 3)
        for word, count in sorted(counts.items())
        if count > RARE and word not in STOP_WORDS
    }


@cache
def _table() -> dict[str, float]:
    table: dict[str, float] = json.loads(TABLE.read_text(encoding="utf-8"))["idf"]
    return table
