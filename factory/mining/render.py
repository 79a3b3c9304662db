"""One finding for a terminal: colour where there is one, and marks that can be read without."""

from collections.abc import Sequence

from rich.text import Text

from factory.mining.finding import Finding
from factory.mining.intervals import told
from factory.mining.settings import MiningSettings
from factory.mining.why import quoted
from logs_schema.records import RagRecord
from logs_schema.scores import Span
from logs_schema.taxonomy import ROUTES, Failure, Route
from logs_schema.visible import visible
from training.metrics import Figure

_WRONG = ("«", "»", "red")
_MARKS = dict.fromkeys(("unsupported", "unsupported_more", "nothing", "citation", "refusal", "claim"), _WRONG)
_MARKS |= {"holds_answer": ("▸", "◂", "green")}
"""Kind of evidence → how its place is marked: before, after, colour."""
_BELONGS = {
    "citation": Failure.bad_citation,
    "newer_version": Failure.stale_context,
    "truncated": Failure.truncated_context,
}
"""Kind of evidence → the failure that it is for; all others are for the primary one."""
_HEAD = "bold"
_DIM = "dim"
TITLES = {
    Failure.unfaithful: "The response says what the retrieved passages do not support.",
    Failure.over_refusal: 'The response says "I don\'t know", although the passages hold the answer.',
    Failure.incomplete: "The response leaves out what was asked, though a passage holds it.",
    Failure.bad_citation: "The response cites a passage that does not support it.",
    Failure.bad_format: "The response does not have the required format.",
    Failure.missing_abstention: 'The passages do not hold the answer: the right one would have been "I don\'t know".',
    Failure.retrieval_miss: "The right passage exists, but was not retrieved.",
    Failure.stale_context: "An outdated version of a document was retrieved.",
    Failure.truncated_context: "The passages were cut off before the model saw them.",
    Failure.knowledge_gap: "No document holds the answer.",
    Failure.insufficient_context: "The passages do not hold the answer; why is not known.",
    Failure.none: "Nothing wrong can be shown.",
}
"""Each failure in plain words."""
_SHOWN = 240
"""Characters shown around a mark, and of a passage without one."""
_UNKNOWN = "not measured"
_LITTLE = 200
"""A passage of which no more than this would be left out is shown whole."""


def render_finding(
    record: RagRecord,
    finding: Finding,
    settings: MiningSettings,
    *,
    confirmed: Figure | None = None,
    next_step: str | None = None,
    full: bool = False,
) -> Text:
    """What was asked, answered and retrieved, the places that matter marked; why it is flagged, and what comes next.

    «…» in the response: what is wrong with it. ▸…◂ in a passage: the sentence that shares most with the question.
    Text of logs is never read as markup, and its control characters are made visible.

    Args:
        record: The interaction.
        finding: What the miner says of it.
        settings: The thresholds shown beside the scores.
        confirmed: How many findings of this kind curators confirmed, see `quality.precision_of`.
        next_step: What happens next, see `waiting.next_step`.
        full: Show whole passages instead of what lies around the marks.
    """
    text = Text()
    good = finding.failure is Failure.none
    text.append(_title(finding.failure, record, finding), f"{_HEAD} {'green' if good else 'red'}")
    text.append("\n" if good else f"\n{finding.failure.value} · {_sure(finding)}\n", _DIM)
    if confirmed:
        text.append(f"curators confirmed a share of {told(confirmed)} of the surest findings of this kind\n", _DIM)
    text.append(f"asked {record.occurred_at:%Y-%m-%d %H:%M} UTC · app {visible(record.source)}", _DIM)
    text.append(f" · record {finding.record_id}\n", _DIM)
    marks = {kind for _, kind in _wanted(finding, None)}
    for message in record.history:
        _section(text, f"Earlier turn ({message.role})", Text(visible(message.content)))
    _section(text, "Question", Text(visible(record.query)))
    wrong = "«…» what is wrong in it" if marks - {"holds_answer"} else ""
    _section(text, "Response of the application", _marked(record.response, "response", finding, full=True), wrong)
    closest = "▸…◂ shares most with the question" if "holds_answer" in marks else ""
    retrieved = [_passage(record, rank, finding, full=full) for rank in range(len(record.contexts))]
    _section(text, "Retrieved passages", Text("\n\n").join(retrieved) if retrieved else Text("none"), closest)
    _section(text, "Why it is not flagged" if good else "Why it is flagged", _reasons(record, finding))
    noticed = _noticed(record, finding)
    if noticed:
        _section(text, "Also noticed", Text("\n".join(noticed)))
    if next_step is not None:
        _section(text, "What happens next", Text(next_step))
    explained = "probabilities unless said otherwise; in brackets the lowest value that passes, set under `[mining]`"
    _section(text, "Scores", Text("\n".join(_in_words(finding, settings))), explained)
    return text


def _title(failure: Failure, record: RagRecord, finding: Finding) -> str:
    if failure is finding.failure and any(item.kind == "nothing" for item in finding.evidence):
        return "The response states nothing that could be checked."
    cited = finding.scores.citations
    if failure is Failure.bad_citation and not cited:
        return "The response cites no passage."
    if failure is Failure.bad_citation and not all(1 <= number <= len(record.contexts) for number in cited):
        return "The response cites a passage that does not exist."
    return TITLES[failure]


def _sure(finding: Finding) -> str:
    degrees = ((0.8, "very sure"), (0.5, "fairly sure"), (0.3, "not sure"), (0.0, "a faint suspicion"))
    word = next(word for least, word in degrees if finding.confidence >= least)
    return f"{word} ({finding.confidence:.2f} of 1; it ranks findings, and is no probability)"


def _passage(record: RagRecord, rank: int, finding: Finding, *, full: bool) -> Text:
    context = record.contexts[rank]
    named = [f"document {context.doc_id}"] if context.doc_id else []
    named += [f"version {context.version}"] if context.version else []
    named += [f"updated {context.updated_at:%Y-%m-%d}"] if context.updated_at else []
    heading = Text(visible(" · ".join(part for part in (f"[{rank + 1}] {context.title or ''}".strip(), *named))), _HEAD)
    return Text("\n").join([heading, _marked(context.text, f"context:{rank}", finding, full=full)])


def _reasons(record: RagRecord, finding: Finding) -> Text:
    lines = [visible(finding.why)]
    doubted = [item for item in finding.evidence if item.kind == "unsupported"]
    for item in finding.evidence:
        if _BELONGS.get(item.kind, finding.failure) is not finding.failure or item.kind in _ONLY_MARKED:
            continue
        place = next((span for span in item.spans if span.where == "response"), None)
        if item.kind != "unsupported" or place is None:
            lines.append(f"- {visible(item.note)}")
            continue
        said = record.response[place.start : place.end]
        if doubted == [item] and quoted(said) in finding.why and item.note in finding.why:
            continue
        times = sum(span.where == "response" for span in item.spans)
        repeated = f" ({times} times)" if times > 1 else ""
        lines.append(f"- {quoted(visible(said), 90)}{repeated}: {visible(item.note)}")
    return Text("\n".join(dict.fromkeys(lines)))


_ONLY_MARKED = frozenset({"holds_answer", "claim", "refusal", "nothing"})
"""Evidence whose place is marked; what it says is in `why`."""


def _noticed(record: RagRecord, finding: Finding) -> list[str]:
    """What else is wrong, which is not why it is flagged."""
    lines = []
    for failure in finding.secondary:
        where = "" if ROUTES[failure] is Route.behaviour else "; on the RAG team's list, `factory worklist`"
        lines.append(f"{_title(failure, record, finding)} ({failure.value}{where})")
        lines += [f"- {visible(item.note)}" for item in finding.evidence if _BELONGS.get(item.kind) is failure]
    return list(dict.fromkeys(lines))


def _section(text: Text, title: str, body: Text, legend: str = "") -> None:
    text.append(f"\n{title}", _HEAD).append(f"   ({legend})\n" if legend else "\n", _DIM)
    for line in body.split("\n", allow_blank=True):
        text.append("  ").append_text(line).append("\n")


def _marked(source: str, where: str, finding: Finding, *, full: bool) -> Text:
    """The text with every place that the evidence names between marks; `visible` keeps offsets."""
    text = Text(visible(source))
    places = _places(finding, where, len(source))
    shown = [(0, len(source))] if full else _stretches(source, places)
    if len(source) - sum(end - start for start, end in shown) <= _LITTLE:
        shown = [(0, len(source))]
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


def _in_words(finding: Finding, settings: MiningSettings) -> list[str]:
    scores = finding.scores
    outweighed = finding.failure is Failure.unfaithful and (scores.faithfulness or 0.0) >= settings.faithful
    but = "; measured by its words, which the reason above outweighs" if outweighed else ""
    repeated = "New words of the closest sentence that the response repeats"
    cited = _share(scores.citation_validity) if scores.citations else "there are none in the response"
    lines = [
        f"The passages support the response: {_degree(scores.faithfulness)} [faithful = {settings.faithful}]{but}",
        f"They hold the answer to the question: {_degree(scores.sufficiency)} [sufficient = {settings.sufficient}]",
        f"Words of the question found in the closest passage: {_share(scores.query_coverage)}",
        f"{repeated}: {_share(scores.completeness)} [incomplete = {settings.incomplete}]",
        f"Citations whose passage exists and supports the sentence: {cited}",
    ]
    if scores.abstained:
        lines.append("The response says that it does not know")
    if len(scores.stages) > 1:
        lines.append(f"Measured by: {', then '.join(scores.stages)}")
    return lines


def _degree(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    degrees = ((0.9, "yes"), (0.6, "mostly"), (0.35, "partly"), (0.1, "hardly"), (0.0, "no"))
    return f"{next(word for least, word in degrees if value >= least)} ({value:.2f})"


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"a share of {value:.2f}"
