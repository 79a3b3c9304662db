"""The gate: what a challenger must reach before it may replace what runs today."""

from logs_schema.records import Value, content_hash
from training.metrics import Figure
from training.report import ALWAYS_REFUSING, BASE, CHALLENGER, CHAMPION, EvaluationReport
from training.settings import GateSettings


class Check(Value):
    """One condition of the gate."""

    name: str
    value: int | float | None
    """None where it could not be measured."""
    low: float | None = None
    high: float | None = None
    floor: str
    """What is asked for, in words."""
    passed: bool
    why: str
    """What was compared, on how many rows."""
    advice: str = ""
    """What to do when it did not pass."""


class GateReport(Value):
    """The gate's decision on one evaluation."""

    adapter_id: str
    evaluation_id: str
    champion_id: str | None
    passed: bool
    checks: tuple[Check, ...]

    @property
    def content(self) -> str:
        """Hash of the decision: the same evaluation under the same settings gives the same."""
        return content_hash(self.model_dump(mode="json"))

    def text(self) -> str:
        """Every check, and what to do about those that failed."""
        against = f"champion {self.champion_id}" if self.champion_id else "the base (no other adapter runs)"
        verdict = "passed" if self.passed else "REFUSED"
        lines = [f"Gate {verdict}: adapter {self.adapter_id} against {against}, evaluation {self.evaluation_id}."]
        for check in self.checks:
            interval = (
                f" [{check.low:.3f}, {check.high:.3f}]" if check.low is not None and check.high is not None else ""
            )
            figure = f"{check.value:.3f}" if isinstance(check.value, float) else str(check.value)
            value = "not measured" if check.value is None else f"{figure}{interval}"
            lines.append(
                f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {value}, wanted {check.floor}. {check.why}"
            )
            if not check.passed:
                lines.append(f"       To do: {check.advice}")
        if not self.passed:
            lines.append("What runs today stays.")
        return "\n".join(lines)


def decide(report: EvaluationReport, settings: GateSettings) -> GateReport:
    """Check an evaluation against the floors.

    Gains are judged by the lower end of their interval. Losses (answer F1, citations, forgetting) are judged
    by the measured value: with the rows that a house has, their intervals are wider than any sensible floor.
    What cannot be measured does not pass, except citations and forgetting where the house measures none.
    """
    champion = CHAMPION if report.champion_id else BASE
    checks = [
        _rows(report, settings),
        _floor(report, settings),
        _gain(report, champion, settings),
        _gain(report, ALWAYS_REFUSING, settings),
        _false_refusal(report, settings),
        _answer_loss(report, champion, settings),
        _citation_loss(report, champion, settings),
        _forgetting(report, settings),
    ]
    return GateReport(
        adapter_id=report.adapter_id,
        evaluation_id=report.evaluation_id,
        champion_id=report.champion_id,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
    )


def _rows(report: EvaluationReport, settings: GateSettings) -> Check:
    each = -(-settings.min_rows // 5)
    return Check(
        name="held-out rows",
        value=report.rows,
        floor=f"at least {settings.min_rows}, of them {each} answerable and {each} not",
        passed=report.rows >= settings.min_rows and min(report.answerable, report.unanswerable) >= each,
        why=f"{report.answerable} answerable, {report.unanswerable} not, {report.audit_rows} from the audit slice.",
        advice="review more records, audit records among them, build the dataset again, and repeat.",
    )


def _floor(report: EvaluationReport, settings: GateSettings) -> Check:
    figure = _challenger(report, "balanced_abstention")
    return _check(
        "balanced abstention",
        figure,
        f"at least {settings.min_balanced_abstention:.2f}",
        figure.value is not None and figure.value >= settings.min_balanced_abstention,
        f"Mean of the F1 of refusing and of answering, {figure.n} rows.",
        "review more rows of the kind that it gets wrong (`factory eval` shows them by kind), or train longer.",
    )


def _gain(report: EvaluationReport, reference: str, settings: GateSettings) -> Check:
    figure = _difference(report, reference, "balanced_abstention")
    return _check(
        f"gain over {reference}",
        figure,
        f"a lower end above {settings.min_gain_balanced:.2f}",
        figure.low is not None and figure.low > settings.min_gain_balanced,
        f"Balanced abstention, paired, {figure.n} rows, {report.confidence:.0%} interval.",
        "a gain within chance is none: review more rows for the training and for the test, then retrain.",
    )


def _false_refusal(report: EvaluationReport, settings: GateSettings) -> Check:
    figure = _challenger(report, "false_refusal")
    return _check(
        "false refusals",
        figure,
        f"at most {settings.max_false_refusal:.2f}",
        figure.value is not None and figure.value <= settings.max_false_refusal,
        f"Share of {figure.n} answerable rows that it refused.",
        "lower [dataset] unanswerable_share, or review more answerable records.",
    )


def _answer_loss(report: EvaluationReport, reference: str, settings: GateSettings) -> Check:
    figure = _difference(report, reference, "answer_f1")
    return _check(
        f"answer F1 against {reference}",
        figure,
        f"at least {0 - settings.max_answer_f1_loss:+.2f}",
        figure.value is not None and figure.value >= -settings.max_answer_f1_loss,
        f"Words shared with the people's references, {figure.n} answerable rows.",
        "review more answerable records, or lower the learning rate.",
    )


def _citation_loss(report: EvaluationReport, reference: str, settings: GateSettings) -> Check:
    figure = _difference(report, reference, "citation_f1")
    unused = _challenger(report, "citation_f1").n == 0
    return _check(
        f"citations against {reference}",
        figure,
        f"at least {0 - settings.max_citation_loss:+.2f}",
        unused or (figure.value is not None and figure.value >= -settings.max_citation_loss),
        "No held-out row says which passage holds its answer." if unused else f"F1 of citations, {figure.n} rows.",
        "see that ideal answers cite their passages, then build the dataset again.",
    )


def _forgetting(report: EvaluationReport, settings: GateSettings) -> Check:
    rise = report.forgetting.rise if report.forgetting else None
    return _check(
        "forgetting",
        rise or Figure(value=None),
        f"a rise of at most {settings.max_forgetting:.2f} nats",
        rise is None or (rise.value is not None and rise.value <= settings.max_forgetting),
        f"On the base's own replies to {rise.n} general prompts." if rise else "[evaluation] forgetting_rows is 0.",
        "raise [dataset] general_share, or lower the learning rate or the epochs.",
    )


def _challenger(report: EvaluationReport, name: str) -> Figure:
    rung = report.rung(CHALLENGER)
    return rung.figures[name] if rung else Figure(value=None)


def _difference(report: EvaluationReport, reference: str, name: str) -> Figure:
    comparison = report.comparison(reference)
    return comparison.differences[name] if comparison else Figure(value=None)


def _check(name: str, figure: Figure, floor: str, passed: bool, why: str, advice: str) -> Check:
    return Check(
        name=name,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        floor=floor,
        passed=passed,
        why=why,
        advice=advice,
    )
