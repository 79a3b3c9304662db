"""Figures against hand-computed examples, and what must hold for any rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import COUNTS, Bootstrap, cited, rouge_l, row_counts, token_f1

WORDS = st.lists(st.sampled_from(["pool", "opens", "at", "seven", "euros", "the", "[1]"]), max_size=8).map(" ".join)


def bootstrap(groups: list[str], resamples: int = 500) -> Bootstrap:
    return Bootstrap(groups, resamples=resamples, confidence=0.95, seed=3)


def counts(judged: list[tuple[bool, bool]]) -> np.ndarray:
    """(answerable, refused) rows to counts."""
    return np.array([row_counts("a", "a", answerable=each[0], refused=each[1]) for each in judged])


def test_token_f1_by_hand():
    assert token_f1("The pool opens at 7. [1]", "pool opens at 7") == 1
    assert token_f1("opens at nine", "the pool opens at seven") == pytest.approx(2 * 2 / (3 + 4))
    assert token_f1("", "") == 1
    assert token_f1("something", "") == 0


def test_rouge_l_by_hand():
    # longest common subsequence of "x b c d" and "b x d" is "b d": 2 * 2 / (4 + 3)
    assert rouge_l("x b c d", "b x d") == pytest.approx(4 / 7)
    assert rouge_l("d c b", "b c d") == pytest.approx(2 / 6)


def test_citation_marks():
    assert cited("Yes [1], and [2, 3]; in [2017] it was [x].") == {0, 1, 2}


@given(WORDS, WORDS)
def test_overlaps_are_shares_symmetric_and_rouge_is_below_f1(left: str, right: str):
    for measure in (token_f1, rouge_l):
        assert 0 <= measure(left, right) <= 1
        assert measure(left, right) == measure(right, left)
        assert measure(left, left) == 1
    assert rouge_l(left, right) <= token_f1(left, right) + 1e-12


def test_always_refusing_gets_at_most_a_half():
    # 40 answerable, 45 not: precision 45/85, recall 1, so F1 = 90/130; answering F1 = 0
    figures = bootstrap([str(at) for at in range(85)]).figures(counts([(True, True)] * 40 + [(False, True)] * 45))
    assert figures["refusal_f1"].value == pytest.approx(90 / 130)
    assert figures["answering_f1"].value == 0
    assert figures["balanced_abstention"].value == pytest.approx(45 / 130)
    assert figures["false_refusal"].value == 1
    assert figures["answer_f1"].value == 0


def test_figures_by_hand():
    # answerable: 3 answered, 1 refused; unanswerable: 2 refused, 1 answered
    judged = [(True, False)] * 3 + [(True, True)] + [(False, True)] * 2 + [(False, False)]
    figures = bootstrap([str(at) for at in range(7)]).figures(counts(judged))
    assert figures["refusal_precision"].value == pytest.approx(2 / 3)
    assert figures["refusal_recall"].value == pytest.approx(2 / 3)
    assert figures["refusal_f1"].value == pytest.approx(2 / 3)
    assert figures["answering_f1"].value == pytest.approx(3 / 4)
    assert figures["balanced_abstention"].value == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert figures["false_refusal"].value == pytest.approx(1 / 4)
    assert figures["false_refusal"].n == 4


def test_citations_by_hand():
    cases = [("yes [1][2]", (0,)), ("no", (1,)), ("so [2]", (1,))]
    rows = np.array([row_counts(a, "r", answerable=True, refused=False, evidence_ranks=e) for a, e in cases])
    figures = bootstrap(["a", "b", "c"]).figures(rows)
    assert figures["citation_precision"].value == pytest.approx(2 / 3)
    assert figures["citation_recall"].value == pytest.approx(2 / 3)
    assert figures["citation_f1"].value == pytest.approx(4 / 6)


def test_what_cannot_be_measured_is_none():
    figures = bootstrap(["a"] * 3).figures(counts([(True, False)] * 3))
    assert figures["balanced_abstention"].value is None
    assert figures["refusal_recall"].value is None
    assert figures["citation_f1"].value is None
    assert figures["groundedness"].value is None
    assert figures["false_refusal"].value == 0
    assert figures["false_refusal"].low is None, "one group gives no interval"


def test_a_refusal_earns_nothing_for_shared_words():
    same = "I don't know based on the provided context."
    assert row_counts(same, same, answerable=True, refused=True)[COUNTS.index("f1")] == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdefgh")), min_size=1, max_size=40))
def test_figures_are_shares_and_a_rung_never_differs_from_itself(judged: list[tuple[bool, bool, str]]):
    rows = counts([each[:2] for each in judged])
    draws = bootstrap([each[2] for each in judged], resamples=100)
    for figure in draws.figures(rows).values():
        assert figure.value is None or 0 <= figure.value <= 1
        if figure.low is not None and figure.high is not None:
            assert 0 <= figure.low <= figure.high <= 1
    for figure in draws.differences(rows, rows).values():
        assert figure.value in (None, 0)
        assert figure.low in (None, 0)
        assert figure.high in (None, 0)


@given(st.permutations(list(range(12))))
def test_the_order_of_rows_does_not_matter(order: list[int]):
    judged = [(at % 3 > 0, at % 2 == 0) for at in range(12)]
    groups = [f"group-{at % 6}" for at in range(12)]
    straight = bootstrap(groups).figures(counts(judged))
    shuffled = bootstrap([groups[at] for at in order]).figures(counts([judged[at] for at in order]))
    for name, figure in straight.items():
        other = shuffled[name]
        assert (figure.value is None) == (other.value is None)
        if figure.value is not None:
            assert figure.value == pytest.approx(other.value)
        if figure.low is not None:
            assert figure.low == pytest.approx(other.low)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        refused = generator.random(60) < 0.3
        rows = counts([(True, bool(each)) for each in refused])
        figure = bootstrap([str(at) for at in range(60)], resamples=200).figures(rows)["false_refusal"]
        assert figure.low is not None and figure.high is not None
        hits += figure.low <= 0.3 <= figure.high
    assert 0.87 <= hits / 200 <= 0.99


def test_rows_of_one_group_move_together():
    judged = [(True, at < 20) for at in range(40)]
    alone = bootstrap([str(at) for at in range(40)], 2000).figures(counts(judged))["false_refusal"]
    together = bootstrap([str(at // 5) for at in range(40)], 2000).figures(counts(judged))["false_refusal"]
    assert alone.low is not None and together.low is not None
    assert together.low < alone.low, "fewer independent groups make a wider interval"
