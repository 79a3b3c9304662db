"""The gate refuses what is not proved, and says what to do."""

import pytest

from training.gate import decide
from training.metrics import FIGURES, Figure
from training.report import Comparison, EvaluationReport, Forgetting, RungFigures
from training.settings import GateSettings

GOOD = {"balanced_abstention": 0.7, "false_refusal": 0.2, "answer_f1": 0.4, "citation_f1": 0.5}


def figures(values: dict[str, float]) -> dict[str, Figure]:
    return {name: Figure(value=values.get(name), n=80) for name in FIGURES}


def differences(balanced: tuple[float, float | None], **values: float) -> dict[str, Figure]:
    found = {name: Figure(value=values.get(name), n=80) for name in FIGURES}
    found["balanced_abstention"] = Figure(value=balanced[0], low=balanced[1], high=balanced[0] + 0.1, n=80)
    return found


def report(**changes: object) -> EvaluationReport:
    plain = EvaluationReport(
        evaluation_id="e",
        adapter_id="a",
        champion_id=None,
        dataset_id="d",
        base_model="base",
        path="p",
        rows=80,
        answerable=40,
        unanswerable=40,
        groups=80,
        audit_rows=10,
        left_out=0,
        confidence=0.95,
        rungs=(RungFigures(rung="challenger", rows=80, figures=figures(GOOD)),),
        comparisons=(
            Comparison(reference="base", rows=80, differences=differences((0.3, 0.1), answer_f1=0.05, citation_f1=0.4)),
            Comparison(reference="always refusing", rows=80, differences=differences((0.35, 0.2))),
        ),
        audit=(),
        kinds={},
        forgetting=Forgetting(base=0.65, challenger=0.6, rise=Figure(value=-0.05, n=24)),
    )
    return plain.model_copy(update=changes)


def failed(evaluation: EvaluationReport, settings: GateSettings | None = None) -> list[str]:
    decision = decide(evaluation, settings or GateSettings())
    names = [check.name for check in decision.checks if not check.passed]
    assert decision.passed == (not names)
    assert all(check.advice for check in decision.checks if not check.passed)
    assert ("REFUSED" in decision.text()) == bool(names)
    return names


def test_a_proven_gain_passes():
    assert failed(report()) == []


@pytest.mark.parametrize(("rows", "answerable"), [(29, 15), (80, 5), (80, 75)])
def test_too_few_rows_are_refused(rows: int, answerable: int):
    assert failed(report(rows=rows, answerable=answerable, unanswerable=rows - answerable)) == ["held-out rows"]


def challenger(**values: float) -> tuple[RungFigures, ...]:
    return (RungFigures(rung="challenger", rows=80, figures=figures({**GOOD, **values})),)


def test_floors():
    assert failed(report(rungs=challenger(balanced_abstention=0.49))) == ["balanced abstention"]
    assert failed(report(rungs=challenger(false_refusal=0.46))) == ["false refusals"]


def test_a_gain_within_chance_is_none():
    base = Comparison(reference="base", rows=80, differences=differences((0.2, -0.01), answer_f1=0.1, citation_f1=0.1))
    refusing = Comparison(reference="always refusing", rows=80, differences=differences((0.3, 0.0)))
    assert failed(report(comparisons=(base, refusing))) == ["gain over base", "gain over always refusing"]
    unknown = base.model_copy(update={"differences": differences((0.9, None), answer_f1=0.1, citation_f1=0.1)})
    assert "gain over base" in failed(report(comparisons=(unknown, report().comparisons[1])))


def test_losses():
    base = Comparison(
        reference="base", rows=80, differences=differences((0.3, 0.1), answer_f1=-0.01, citation_f1=-0.06)
    )
    assert failed(report(comparisons=(base, report().comparisons[1]))) == [
        "answer F1 against base",
        "citations against base",
    ]
    assert (
        failed(
            report(comparisons=(base, report().comparisons[1])),
            GateSettings(max_answer_f1_loss=0.02, max_citation_loss=0.2),
        )
        == []
    )


def test_forgetting():
    forgot = Forgetting(base=0.6, challenger=0.8, rise=Figure(value=0.2, n=24))
    assert failed(report(forgetting=forgot)) == ["forgetting"]
    assert failed(report(forgetting=None)) == []


def test_with_a_champion_the_base_is_not_the_measure():
    names = failed(report(champion_id="c"))
    assert names == ["gain over champion", "answer F1 against champion", "citations against champion"]


def test_a_house_without_citations_can_promote():
    base = Comparison(reference="base", rows=80, differences=differences((0.3, 0.1), answer_f1=0.1))
    uncited = {**base.differences, "citation_f1": Figure(value=None, n=0)}
    rung = report().rungs[0]
    silent = rung.model_copy(update={"figures": {**rung.figures, "citation_f1": Figure(value=None, n=0)}})
    comparisons = (base.model_copy(update={"differences": uncited}), report().comparisons[1])
    assert failed(report(rungs=(silent,), comparisons=comparisons)) == []


def test_the_same_decision_has_the_same_content():
    assert decide(report(), GateSettings()).content == decide(report(), GateSettings()).content
    assert decide(report(), GateSettings()).content != decide(report(), GateSettings(max_forgetting=0.2)).content


def test_the_evaluation_tells_itself_with_rows_and_intervals():
    text = report().text()
    assert "80 held-out rows" in text and "10 from the audit slice" in text
    assert "+0.300 [+0.100, +0.400]" in text
    assert "24 general" in text and "not another training seed" in text


def test_nothing_is_concluded_from_words_that_production_wrote_itself():
    production = Comparison(reference="production", rows=80, differences=differences((0.3, 0.1), answer_f1=-0.4))
    whole = report(comparisons=(production,))
    assert "answer F1       -0.400" in whole.text() and "accepted as it is" not in whole.text()
    own = whole.model_copy(update={"own_references": 12})
    assert "In 12 of the 40 answerable rows" in own.text()
    assert "answer F1       -" not in own.text() and "balanced        +0.300" in own.text()
