"""What an evaluation found, as values and as text."""

from logs_schema.records import Value
from training.metrics import Figure

SHOWN = (
    ("balanced_abstention", "balanced"),
    ("refusal_f1", "refusal F1"),
    ("refusal_recall", "refusals found"),
    ("false_refusal", "false refusals"),
    ("answer_f1", "answer F1"),
    ("rouge_l", "ROUGE-L"),
    ("citation_precision", "cited right"),
    ("citation_recall", "evidence cited"),
    ("groundedness", "grounded"),
)
"""Figures of the table, with their column heads."""

WORDS = ("answer_f1", "rouge_l")
"""Figures that compare words with the reference."""

PRODUCTION = "production"
BASE = "base"
CHAMPION = "champion"
CHALLENGER = "challenger"
ALWAYS_REFUSING = "always refusing"


class RungFigures(Value):
    """One of the compared answerers on one set of rows."""

    rung: str
    rows: int
    figures: dict[str, Figure]


class Comparison(Value):
    """Challenger minus another rung, on the rows that both answered."""

    reference: str
    rows: int
    differences: dict[str, Figure]


class Forgetting(Value):
    """Negative log-likelihood per token on the base's own replies to general prompts, in nats."""

    base: float | None
    """None when the base had nothing to say to any of the prompts."""
    challenger: float | None
    rise: Figure


class EvaluationReport(Value):
    """One evaluation of an adapter; `report.json` of its folder."""

    evaluation_id: str
    adapter_id: str
    champion_id: str | None
    dataset_id: str
    base_model: str
    path: str
    rows: int
    answerable: int
    unanswerable: int
    groups: int
    """Independent leak groups among the rows."""
    audit_rows: int
    left_out: int
    """Held-out rows beyond `max_rows`."""
    own_references: int = 0
    """Answerable rows whose reference is production's own answer, accepted by a curator as it is."""
    confidence: float
    rungs: tuple[RungFigures, ...]
    comparisons: tuple[Comparison, ...]
    audit: tuple[RungFigures, ...]
    """The audit slice alone: unbiased production traffic."""
    kinds: dict[str, tuple[RungFigures, ...]]
    """Example kind → rungs on its rows."""
    forgetting: Forgetting | None

    def rung(self, name: str) -> RungFigures | None:
        """One rung on all rows, if it was measured."""
        return next((each for each in self.rungs if each.rung == name), None)

    def comparison(self, reference: str) -> Comparison | None:
        """The challenger against one rung, if it was measured."""
        return next((each for each in self.comparisons if each.reference == reference), None)

    def text(self) -> str:
        """Tables with rows and intervals, and what they do not say."""
        share = f"{self.confidence:.0%}"
        parts = [
            f"Evaluation {self.evaluation_id} of adapter {self.adapter_id} on {self.rows} held-out rows of dataset "
            f"{self.dataset_id} ({self.answerable} answerable, {self.unanswerable} not; {self.groups} independent "
            f"groups; {self.audit_rows} from the audit slice; {self.left_out} left out beyond max_rows).",
            _table(self.rungs),
        ]
        for comparison in self.comparisons:
            lines = [f"Challenger minus {comparison.reference}, {comparison.rows} rows, {share} intervals:"]
            lines += [
                f"  {head:<16}{_difference(comparison.differences[name])}"
                for name, head in SHOWN
                if name != "groundedness"
                and comparison.differences[name].value is not None
                and not (comparison.reference == PRODUCTION and self.own_references and name in WORDS)
            ]
            parts.append("\n".join(lines))
        if self.audit:
            parts.append(f"Audit slice alone ({self.audit_rows} rows of unselected traffic):\n" + _table(self.audit))
        for kind, rungs in self.kinds.items():
            parts.append(f"Rows of kind {kind}:\n" + _table(rungs))
        if self.forgetting and self.forgetting.base is not None:
            kept = self.forgetting
            parts.append(
                f"Forgetting: negative log-likelihood per token on the base's own replies to {kept.rise.n} general "
                f"prompts {kept.base:.3f} → {kept.challenger:.3f}, rise {_difference(kept.rise)} nats."
            )
        if self.own_references:
            parts.append(
                f"In {self.own_references} of the {self.answerable} answerable rows the reference is production's own "
                "answer, which a curator accepted as it is. There production's answer F1 and ROUGE-L are 1 by "
                "construction: they are not comparable with those of the others, and no difference is shown."
            )
        parts.append(
            "Balanced is the mean of the F1 of refusing and of answering. Answer F1 and ROUGE-L compare words with the "
            "people's references, a refusal counting 0; grounded is our own scorer's diagnostic and decides nothing. "
            f"Intervals are {share}, by leak group; "
            "they cover the choice of rows, not another training seed. '-' is not measured."
        )
        return "\n\n".join(parts)


def _table(rungs: tuple[RungFigures, ...]) -> str:
    names = [(name, head) for name, head in SHOWN if any(r.figures[name].value is not None for r in rungs)]
    widths = [max(len(head), 17) for _, head in names]
    lines = [
        "".join(
            [f"{'':<16}{'rows':>5}", *(f"  {head:>{width}}" for (_, head), width in zip(names, widths, strict=True))]
        )
    ]
    for rung in rungs:
        cells = [_cell(rung.figures[name]) for name, _ in names]
        line = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{rung.rung:<16}{rung.rows:>5}{line}")
    return "\n".join(lines)


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f}"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _difference(figure: Figure) -> str:
    if figure.value is None:
        return "not measured"
    if figure.low is None or figure.high is None:
        return f"{figure.value:+.3f} (too few groups for an interval)"
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"
