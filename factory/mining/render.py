"""One finding for a terminal: colour where there is one, and marks that can be read without."""

from collections.abc import Sequence

from rich.text import Text

from factory.mining.finding import Finding
from logs_schema.records import RagRecord
from logs_schema.scores import Scores, Span
from logs_schema.taxonomy import Failure
from logs_schema.visible import visible

_MARKS = {"unsupported": ("«", "»", "red"), "citation": ("«", "»", "red"), "holds_answer": ("▸", "◂", "green")}
"""Kind of evidence → how its place is marked: before, after, colour."""
_HEAD = "bold"
_DIM = "dim"


def render_finding(record: RagRecord, finding: Finding) -> Text:
    """Question, response, passages, evidence and scores, the places that matter marked.

    «…» in the response: no passage supports it. ▸…◂ in a passage: the sentence closest to the question.
    Text of logs is never read as markup, and its control characters are made visible.
    """
    text = Text()
    _heading(text, finding)
    for message in record.history:
        _section(text, f"Before ({message.role})", Text(visible(message.content)))
    _section(text, "Question", Text(visible(record.query)))
    _section(text, "Response", _marked(record.response, "response", finding))
    for rank, context in enumerate(record.contexts):
        named = " · ".join(part for part in (context.title, context.doc_id, context.version) if part)
        _section(text, visible(f"[{rank + 1}] {named}".strip()), _marked(context.text, f"context:{rank}", finding))
    if not record.contexts:
        _section(text, "Passages", Text("none were retrieved"))
    if finding.evidence:
        lines = [f"{item.kind.replace('_', ' ')}: {item.note}" for item in finding.evidence]
        _section(text, "Evidence", Text("\n".join(visible(line) for line in lines)))
    _section(text, "Scores", Text("\n".join(_in_words(finding.scores))))
    text.append("\n«…» no passage supports it   ▸…◂ the sentence closest to the question\n", _DIM)
    return text


def _heading(text: Text, finding: Finding) -> None:
    text.append(finding.failure.value, f"{_HEAD} {'green' if finding.failure is Failure.none else 'red'}")
    if finding.secondary:
        text.append(f" (also {', '.join(failure.value for failure in finding.secondary)})")
    text.append(f"   route {finding.route.value}   sure {finding.confidence:.2f}   record {finding.record_id}\n")
    text.append(visible(finding.why) + "\n")


def _section(text: Text, title: str, body: Text) -> None:
    text.append(f"\n{title}\n", _HEAD)
    for line in body.split("\n", allow_blank=True):
        text.append("  ").append_text(line).append("\n")


def _marked(source: str, where: str, finding: Finding) -> Text:
    """The text with every place that the evidence names between marks; `visible` keeps offsets."""
    text = Text(visible(source))
    places = _places(finding, where, len(source))
    for start, end, kind in reversed(places):
        before, after, colour = _MARKS[kind]
        text.stylize(colour, start, end)
        text = Text.assemble(text[:start], (before, colour), text[start:end], (after, colour), text[end:])
    return text


def _places(finding: Finding, where: str, length: int) -> list[tuple[int, int, str]]:
    """Places that do not overlap, in order; a place within another is left out."""
    wanted: list[tuple[Span, str]] = [
        (span, item.kind)
        for item in finding.evidence
        if item.kind in _MARKS
        for span in item.spans
        if span.where == where and (item.kind == "holds_answer") is where.startswith("context")
    ]
    places: list[tuple[int, int, str]] = []
    for span, kind in sorted(wanted, key=lambda place: (place[0].start, -place[0].end)):
        last = places[-1][1] if places else 0
        if last <= span.start < span.end <= length:
            places.append((span.start, span.end, kind))
    return places


def _in_words(scores: Scores) -> Sequence[str]:
    degrees: list[tuple[str, float | None]] = [
        ("The passages support the response", scores.faithfulness),
        ("They hold the answer to the question", scores.sufficiency),
        ("The best one has the words of the question", scores.query_coverage),
        ("The response repeats the sentence closest to the question", scores.completeness),
        ("Its citations are valid", scores.citation_validity),
    ]
    lines = [f"{name}: {_degree(value)}" for name, value in degrees]
    if scores.abstained is not None:
        lines.append(f'It opens with "I don\'t know": {"yes" if scores.abstained else "no"}')
    if len(scores.stages) > 1:
        lines.append(f"Measured by: {', then '.join(scores.stages)}")
    return lines


def _degree(value: float | None) -> str:
    if value is None:
        return "not measured"
    word = next(
        word for least, word in ((0.8, "well"), (0.5, "rather"), (0.2, "hardly"), (0.0, "not")) if value >= least
    )
    return f"{word} ({value:.2f})"
