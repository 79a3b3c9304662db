"""One finding for a terminal: colour where there is one, and marks that can be read without."""

from collections.abc import Sequence

from rich.text import Text

from factory.mining.explain import quoted
from factory.mining.finding import Finding
from logs_schema.records import RagRecord
from logs_schema.scores import Scores, Span
from logs_schema.taxonomy import ROUTES, Failure, Route
from logs_schema.visible import visible

_WRONG = ("«", "»", "red")
_MARKS = dict.fromkeys(("unsupported", "citation", "refusal", "claim"), _WRONG) | {"holds_answer": ("▸", "◂", "green")}
"""Kind of evidence → how its place is marked: before, after, colour."""
_HEAD = "bold"
_DIM = "dim"
TITLES = {
    Failure.unfaithful: "The answer says what the retrieved passages do not support.",
    Failure.over_refusal: 'The answer says "I don\'t know" although the passages hold the answer.',
    Failure.incomplete: "The answer leaves out what the passages say.",
    Failure.bad_citation: "The answer cites the wrong passage, or none.",
    Failure.bad_format: "The answer does not have the required format.",
    Failure.missing_abstention: 'The passages do not hold the answer; it should have been "I don\'t know".',
    Failure.retrieval_miss: "The right passage exists, but was not retrieved.",
    Failure.stale_context: "An outdated version of a document was retrieved.",
    Failure.truncated_context: "The passages were cut off before the model saw them.",
    Failure.knowledge_gap: "No document holds the answer.",
    Failure.insufficient_context: "The passages do not hold the answer; why is not known.",
    Failure.none: "Nothing wrong can be shown.",
}
"""Each failure in plain words."""
NEXT = {
    Route.behaviour: "A curator decides whether that is so and writes the right answer; the model is trained on it.",
    Route.retrieval: "Training cannot mend this: the RAG team finds it in `factory worklist`.",
    Route.content: "Training cannot mend this: the RAG team finds it in `factory worklist`.",
    Route.prompt: "Training cannot mend this: the RAG team finds it in `factory worklist`.",
    Route.ticket: "A curator decides whether the resolution is a good answer to learn from.",
    Route.no_action: "Nothing.",
}
"""What happens with the findings of each route."""
_SHOWN = 240
"""Characters shown around a mark, and of a passage without one."""


def render_finding(record: RagRecord, finding: Finding, *, state: str | None = None, full: bool = False) -> Text:
    """What was asked, retrieved and answered, the places that matter marked; why it is flagged, and what comes next.

    «…» in the answer: what is wrong with it. ▸…◂ in a passage: the sentence closest to the question.
    Text of logs is never read as markup, and its control characters are made visible.

    Args:
        record: The interaction.
        finding: What the miner says of it.
        state: Where it stands in the review, one sentence.
        full: Show whole passages instead of what lies around the marks.
    """
    text = Text()
    good = finding.failure is Failure.none
    text.append(TITLES[finding.failure], f"{_HEAD} {'green' if good else 'red'}")
    text.append(f"\n{finding.failure.value} · {_sure(finding)} · record {finding.record_id}", _DIM)
    text.append(f" · {visible(record.source)} · {record.occurred_at:%Y-%m-%d %H:%M} UTC\n", _DIM)
    for message in record.history:
        _section(text, f"Before ({message.role})", Text(visible(message.content)))
    _section(text, "Asked", Text(visible(record.query)))
    _section(text, "Answered", _marked(record.response, "response", finding, full=True))
    for rank, context in enumerate(record.contexts):
        named = " · ".join(part for part in (context.title, context.doc_id, context.version) if part)
        heading = visible(f"Retrieved [{rank + 1}] {named}".strip())
        _section(text, heading, _marked(context.text, f"context:{rank}", finding, full=full))
    if not record.contexts:
        _section(text, "Retrieved", Text("none were retrieved"))
    marks = {kind for span, kind in _wanted(finding, None)}
    legend = ["«…» what is wrong in the answer"] if marks - {"holds_answer"} else []
    legend += ["▸…◂ the sentence closest to the question"] if "holds_answer" in marks else []
    text.append(f"\n{'   '.join(legend)}\n" if legend else "", _DIM)
    _section(text, "Why it is flagged" if not good else "Why it is not flagged", _reasons(record, finding))
    _section(text, "What happens next", Text("\n".join(_next(finding, state))))
    _section(text, "Measured", Text("\n".join(_in_words(finding.scores))))
    return text


def _sure(finding: Finding) -> str:
    if finding.failure is Failure.none:
        return "nothing to be sure of"
    degrees = ((0.8, "very sure"), (0.5, "fairly sure"), (0.3, "not sure"), (0.0, "a faint suspicion"))
    word = next(word for least, word in degrees if finding.confidence >= least)
    return f"{word} ({finding.confidence:.2f} of 1)"


def _reasons(record: RagRecord, finding: Finding) -> Text:
    lines = [visible(finding.why)]
    for item in finding.evidence:
        if item.kind in ("unsupported", "refusal", "claim"):
            places = [span for span in item.spans if span.where == "response"]
            said = " ".join(record.response[span.start : span.end] for span in places)
            lines.append(f"- {quoted(visible(said), 90)}: {visible(item.note)}")
        elif item.kind != "holds_answer":
            lines.append(f"- {'citation ' if item.kind == 'citation' else ''}{visible(item.note)}")
    if finding.secondary:
        lines.append("Also: " + " ".join(f"{TITLES[failure]} ({failure.value})" for failure in finding.secondary))
    return Text("\n".join(dict.fromkeys(lines)))


def _next(finding: Finding, state: str | None) -> list[str]:
    lines = [NEXT[finding.route]]
    if finding.route is Route.behaviour and any(
        NEXT[ROUTES[each]] != NEXT[finding.route] for each in finding.secondary
    ):
        lines.append("What else is wrong with the passages, the RAG team finds in `factory worklist`.")
    return [*lines, state] if state else lines


def _section(text: Text, title: str, body: Text) -> None:
    text.append(f"\n{title}\n", _HEAD)
    for line in body.split("\n", allow_blank=True):
        text.append("  ").append_text(line).append("\n")


def _marked(source: str, where: str, finding: Finding, *, full: bool) -> Text:
    """The text with every place that the evidence names between marks; `visible` keeps offsets."""
    text = Text(visible(source))
    places = _places(finding, where, len(source))
    shown = [(0, len(source))] if full else _stretches(source, places)
    parts: list[Text | str | tuple[str, str]] = []
    for start, end in shown:
        parts.append((" … ", _DIM) if start else "")
        at = start
        for begin, stop, kind in places:
            if start <= begin < end:
                before, after, colour = _MARKS[kind]
                marked = text[begin:stop]
                marked.stylize(colour)
                parts += [text[at:begin], (before, colour), marked, (after, colour)]
                at = stop
        parts.append(text[at:end])
    left = len(source) - sum(end - start for start, end in shown)
    parts.append((f" … ({left:,} more characters: --full)", _DIM) if left else "")
    return Text.assemble(*parts)


def _stretches(source: str, places: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """What to show of a long text: the surroundings of the marks, else its beginning."""
    wanted = [(max(0, start - _SHOWN), min(len(source), end + _SHOWN)) for start, end, _ in places] or [(0, _SHOWN)]
    shown: list[tuple[int, int]] = []
    for start, end in wanted:
        start = 0 if start < _SHOWN // 4 else start
        end = len(source) if len(source) - end < _SHOWN // 4 else end
        if shown and start <= shown[-1][1]:
            shown[-1] = (shown[-1][0], max(end, shown[-1][1]))
        else:
            shown.append((start, end))
    return shown


def _wanted(finding: Finding, where: str | None) -> list[tuple[Span, str]]:
    return [
        (span, item.kind)
        for item in finding.evidence
        if item.kind in _MARKS
        for span in item.spans
        if where in (None, span.where) and (item.kind == "holds_answer") is span.where.startswith("context")
    ]


def _places(finding: Finding, where: str, length: int) -> list[tuple[int, int, str]]:
    """Places that do not overlap, in order; a place within another is left out."""
    places: list[tuple[int, int, str]] = []
    for span, kind in sorted(_wanted(finding, where), key=lambda place: (place[0].start, -place[0].end)):
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
        word for least, word in ((0.8, "well"), (0.5, "rather"), (0.2, "hardly"), (0.0, "not at all")) if value >= least
    )
    return f"{word} ({value:.2f})"
