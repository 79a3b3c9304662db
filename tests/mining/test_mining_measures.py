import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.mining.answers import Holding, answer_in, of_the_whole
from factory.mining.claims import Measures, claims, whole
from factory.mining.combination import Combination, Fit, shipped, sigmoid
from factory.mining.fitting import auroc, fit_combination, fit_line, folds, speaks
from factory.mining.idf import idf
from factory.mining.lexical import texts_of
from factory.mining.passage import passage
from factory.mining.semantic import MEASURES as MEANINGS
from factory.mining.words import STOP_WORDS
from logs_schema.records import Context, RagRecord

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benches"))

import plain

SOME = "the The cat cats sat Paris in 1998 1,000 not never slept because Who when how many city . . , ? 1."
WORDS = st.sampled_from([*SOME.split(), "\n"])
TEXT = st.lists(WORDS, max_size=40).map(" ".join)
QUERY = st.lists(WORDS, min_size=1, max_size=8).map(" ".join).filter(str.strip)


@settings(max_examples=300, deadline=None)
@given(QUERY, TEXT, st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3))
def test_measures_are_what_the_plain_way_gives(query: str, response: str, texts: list[tuple[str, str | None]]) -> None:
    record = RagRecord(
        source="s", source_id="1", occurred_at="2026-01-01T00:00:00Z", query=query, response=response,
        contexts=tuple(Context(text=text, title=title) for text, title in texts),
    )  # fmt: skip
    judged = claims(response, texts_of(record.contexts))
    assert (whole(judged) if judged else {}) == pytest.approx(plain.faithfulness_measures(record), abs=1e-9)
    answer = answer_in(record, texts_of(record.contexts))
    assert of_the_whole(answer.holding) == pytest.approx(plain.sufficiency_measures(record), abs=1e-9)
    for value in (*(whole(judged) if judged else {}).values(), *answer.holding):
        assert -1e-9 <= value <= 1 + 1e-9
    if answer.context is not None:
        assert answer.at is not None and passage(*texts_of(record.contexts)[answer.context]).sentences[answer.at]


def test_rare_words_weigh_more() -> None:
    assert idf("the") == 0 < idf("year") < idf("gearbox") <= idf("zyzzyva") == 1
    assert all(idf(word) == 0 for word in STOP_WORDS)


@pytest.mark.parametrize("name", ["lexical", "semantic"])
def test_what_ships_is_monotone_and_complete(name: str) -> None:
    fit = shipped(name)
    known = {*Measures._fields, *(f"{field}_worst" for field in Measures._fields)}
    assert fit.faithfulness.weights.keys() <= known
    assert fit.sufficiency.weights.keys() <= {*Holding._fields, *(MEANINGS if name == "semantic" else ())}
    for combination in (fit.faithfulness, fit.sufficiency):
        assert combination.slope > 0
        assert all(weight * speaks(measure) >= 0 for measure, weight in combination.weights.items())
    assert Fit.model_validate_json(fit.model_dump_json()) == fit


@pytest.mark.parametrize(
    "given", [{"slope": 0.0}, {"weights": {"coverage": float("nan")}}, {"weights": {"coverage": float("inf")}}]
)
def test_a_combination_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Combination(**{"weights": {"coverage": 1.0}, "intercept": 0.0, **given})


@given(st.floats(-1e6, 1e6))
def test_probabilities_stay_within_bounds(logit: float) -> None:
    assert 0 <= sigmoid(logit) <= 1
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)


def test_a_measure_with_the_wrong_sign_is_left_out() -> None:
    rows = [{"coverage": n / 100, "names_worst": (n * 7 % 100) / 100 + n / 50} for n in range(100)]
    labels = [n > 40 for n in range(100)]
    fitted = fit_combination(rows, labels, ["coverage", "names_worst"])
    assert set(fitted.weights) == {"coverage"} and fitted.weights["coverage"] > 0
    assert fitted.probability(rows[90]) > 0.8 > 0.3 > fitted.probability(rows[5])
    assert fit_combination(rows, [True] * 100, ["coverage"]).weights == {}


def test_a_line_calibrates_and_never_turns_the_order_round() -> None:
    logits = [n / 10 - 5 for n in range(100)]
    slope, offset = fit_line(logits, [n > 70 for n in range(100)])
    assert slope > 0 and sigmoid(slope * 2.1 + offset) == pytest.approx(0.5, abs=0.2)
    slope, offset = fit_line(logits, [n < 30 for n in range(100)])
    assert slope > 0 and sigmoid(slope * 5 + offset) == pytest.approx(0.3, abs=0.01)


def test_order_and_folds() -> None:
    import numpy as np

    labels = [False] * 50 + [True] * 50
    sharp = np.array([0.0] * 50 + [1.0] * 50)
    assert auroc(sharp, labels) == 1
    assert list(folds(["b", "a", "b"])) == [folds(["b", "a"])[n] for n in (0, 1, 0)]
