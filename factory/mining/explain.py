"""The evidence behind a verdict, and its one sentence in plain words."""

from factory.mining.case import Case
from factory.mining.claims import Claim
from factory.mining.hops import read_hops
from factory.mining.lexical import unsupported_citations
from factory.mining.text import Sentence, tokens
from logs_schema.records import FeedbackKind
from logs_schema.scores import Evidence, Span
from logs_schema.taxonomy import Failure

QUOTED = 140
"""Characters of a quotation at the most."""
SHOWN = 5
"""Unsupported sentences kept as evidence, the worst first."""


def quoted(text: str, limit: int = QUOTED) -> str:
    """The text on one line between quotes, cut at a word."""
    line = " ".join(text.split()).replace('"', "'")
    if len(line) > limit:
        line = line[: limit - 1].rsplit(" ", 1)[0] + " …"
    return f'"{line}"'


def evidence(case: Case, failures: dict[Failure, float]) -> tuple[Evidence, ...]:
    """What a person can check: sentences against passages, citations, feedback, versions."""
    found: list[Evidence] = []
    if Failure.over_refusal in failures and case.refusal:
        span = _span("response", case.refusal)
        found.append(Evidence(kind="refusal", note="says that it does not know", spans=(span,)))
    doubted = _worst(case)
    if not doubted and Failure.unfaithful in failures:
        doubted = sorted(case.judged, key=case.support)[:1]
    if Failure.missing_abstention in failures and not doubted:
        said = tuple(_span("response", claim.sentence) for claim in case.judged[:SHOWN])
        found.append(Evidence(kind="claim", note="answers what no passage seems to answer", spans=said))
    for claim in doubted[:SHOWN]:
        note = _noted(case, claim) or (
            f"not in any passage: {', '.join(claim.missing[:SHOWN])}" if claim.missing else "said differently there"
        )
        spans = [Span(where="response", start=claim.sentence.start, end=claim.sentence.end)]
        if claim.context is not None and claim.place:
            spans.append(_span(f"context:{claim.context}", claim.place))
        sure = round(case.support(claim), 4)
        found.append(Evidence(kind="unsupported", note=note, spans=tuple(spans), score=sure))
    if case.answer.context is not None:
        note = f"the sentence closest to the question, in [{case.answer.context + 1}]"
        span = _span(f"context:{case.answer.context}", _answering(case, case.answer.context))
        sure = round(case.scores.sufficiency or 0.0, 4)
        found.append(Evidence(kind="holds_answer", note=note, spans=(span,), score=sure))
    if Failure.bad_citation in failures:
        found += _citations(case)
    for rank, newest in case.stale.items():
        context = case.record.contexts[rank]
        if newest.withdrawn:
            note = f"[{rank + 1}] is from a document that was withdrawn on {newest.updated_at:%Y-%m-%d}"
        else:
            made = f"a version of {context.updated_at:%Y-%m-%d}" if context.updated_at else f"version {context.version}"
            note = f"[{rank + 1}] is {made}, a newer one is of {newest.updated_at:%Y-%m-%d}"
        place = Span(where=f"context:{rank}", start=0, end=0)
        found.append(Evidence(kind="newer_version", note=note, spans=(place,)))
    found += _searched(case)
    found += _hops(case)
    if case.record.truncated:
        found.append(Evidence(kind="truncated", note="the logged prompt held less than was retrieved"))
    return (*found, *_feedback(case))


def why(case: Case, failures: dict[Failure, float]) -> str:
    """One sentence on the primary failure."""
    primary = next((failure for failure in Failure if failure in failures), Failure.none)
    if case.opinion.correction and primary is not Failure.stale_context:
        return _corrected(case, primary, failures)
    match primary:
        case Failure.unfaithful:
            return f"{_held(case)} but the response says {_claim(case)}, which none of them supports{_missing(case)}."
        case Failure.over_refusal:
            return f"{_held(case)} but the response says that it does not know."
        case Failure.incomplete:
            return f"{_held(case)} but the response leaves that out."
        case Failure.bad_citation:
            return _citation(case)
        case Failure.bad_format:
            return "The response does not have the required format."
        case Failure.missing_abstention:
            return f"{_lacking(case)}, but the response answers anyway: {_claim(case)}."
        case Failure.truncated_context:
            return "The prompt held less of the passages than was retrieved: the window cut them off."
        case Failure.stale_context:
            return _stale(case)
        case Failure.retrieval_miss:
            return f"{_refused(case)} Yet the corpus holds it: {_hit(case)}, which was not retrieved."
        case Failure.knowledge_gap:
            return f"{_refused(case)} No document of the corpus covers it either."
        case Failure.insufficient_context:
            return _refused(case)
        case _:
            return _nothing(case)


def _noted(case: Case, claim: Claim) -> str | None:
    """What a dearer stage says of a sentence."""
    start, end = claim.sentence
    for one in case.scores.evidence:
        if one.spans and one.spans[0].start < end and start < one.spans[0].end and one.kind == "unsupported":
            return one.note
    return None


def _refused(case: Case) -> str:
    return f"{_lacking(case)}, and the response rightly says that it does not know."


def _lacking(case: Case) -> str:
    return f"No passage seems to answer this{_unasked(case)}" if case.record.contexts else "Nothing was retrieved"


def _stale(case: Case) -> str:
    rank, newest = next(iter(case.stale.items()))
    context = case.record.contexts[rank]
    named = quoted(context.title or context.doc_id or "", 60)
    if newest.withdrawn:
        return f"Passage [{rank + 1}] is from {named}, which had been withdrawn on {newest.updated_at:%Y-%m-%d}."
    return (
        f"Passage [{rank + 1}] is an outdated version of {named}: a newer one of {newest.updated_at:%Y-%m-%d} "
        "existed then."
    )


def _hit(case: Case) -> str:
    hit = case.searched.hit if case.searched else None
    if hit is None:
        return "nothing"
    named = quoted(hit.title or hit.doc_id, 60)
    return f"{quoted(hit.text)} in {named}" if hit.text else f"a passage of {named}, found for other questions"


def _searched(case: Case) -> list[Evidence]:
    if case.searched is None:
        return []
    documents, logged = case.searched.documents, case.searched.logged
    parts = [f"{documents:,} document{'s' * (documents != 1)}"] if documents else []
    parts += [f"{logged:,} logged passage{'s' * (logged != 1)}"] if logged else []
    count = f"{' and '.join(parts)} searched"
    if case.searched.hit is None:
        return [Evidence(kind="corpus", note=f"{count}: none shares a word with the question", score=0.0)]
    note = f"{count}: closest is {_hit(case)} (document {quoted(case.searched.hit.doc_id, 60)})"
    hit = case.searched.hit
    return [Evidence(kind="corpus", note=note, score=round(hit.covered, 4), document=hit.doc_id)]


def _hops(case: Case) -> list[Evidence]:
    hops = None if case.held else read_hops(case.record, case.found)
    if hops is None:
        return []
    notes = [f"the question joins or compares things ({quoted(hops.wording, 40)})"] if hops.wording else []
    if hops.parts:
        one, other = hops.parts
        notes.append(f"[{one + 1}] and [{other + 1}] hold a part of it each")
    spans = tuple(Span(where=f"context:{rank}", start=0, end=0) for rank in hops.parts or ())
    return [Evidence(kind="multi_hop", note="; ".join(notes), spans=spans)]


def _nothing(case: Case) -> str:
    said = "The passages seem to answer this, and they support the response"
    if case.opinion.bad:
        return f"{said}: nothing wrong can be shown, although {_voted(case)}."
    return f"{said}."


def _corrected(case: Case, primary: Failure, failures: dict[Failure, float]) -> str:
    correction = case.opinion.correction
    assert correction is not None
    if primary is Failure.none:
        return _nothing(case)
    if correction.abstains:
        return f"A person says that this cannot be answered from the passages, but the response says {_claim(case)}."
    given = f"A person gave the answer as {quoted(correction.text)}"
    if not correction.supported:
        found = " The corpus holds it: " + _hit(case) + "." if Failure.retrieval_miss in failures else ""
        return f"{given}, which the passages do not hold.{found}"
    if primary is Failure.over_refusal:
        return f"{given}, and the passages hold it, but the response says that it does not know."
    if primary is Failure.incomplete:
        return f"{given}, and the passages hold it, but the response leaves some of it out."
    return f"{given}, and the passages hold it, but the response says {_claim(case)}."


def _held(case: Case) -> str:
    if case.answer.context is None:
        return "The passages answer this"
    text = case.record.contexts[case.answer.context].text
    place = _answering(case, case.answer.context)
    sentence = quoted(text[place.start : place.end])
    seem = "answer" if case.sufficient > 0.4 else "seem to answer"
    return f"The passages {seem} this ({sentence} in [{case.answer.context + 1}])"


def _claim(case: Case) -> str:
    worst = _worst(case) or sorted(case.judged, key=case.support)
    if not worst:
        return quoted(case.record.response)
    return quoted(case.record.response[worst[0].sentence.start : worst[0].sentence.end])


def _missing(case: Case) -> str:
    worst = _worst(case)
    words = worst[0].missing[:SHOWN] if worst else ()
    return f" (in no passage: {', '.join(words)})" if words else ""


def _unasked(case: Case) -> str:
    near = case.answer.context
    query = case.record.query
    words = [
        query[word.start : word.end]
        for word in tokens(query)
        if word.weight == 1 and not (near is not None and case.found[near].holds(word.norm))
    ]
    if not words:
        return ""
    lack = "the closest has" if near is not None else "there is"
    return f" ({lack} nothing on {', '.join(dict.fromkeys(words[:SHOWN]))})"


def _worst(case: Case) -> list[Claim]:
    """Claims that would not count as supported if they stood alone, the worst first."""
    scored = [(case.support(claim), claim.sentence.start, claim) for claim in case.judged]
    return [claim for score, _, claim in sorted(scored) if score < case.settings.faithful]


def _answering(case: Case, context: int) -> Sentence:
    return case.found[context].sentences[case.answer.at or 0]


def _citation(case: Case) -> str:
    outside, unsupported = unsupported_citations(case.record.response, case.found)
    if outside:
        many = len(case.record.contexts)
        return f"The response cites [{outside[0].number}], but only {many} passage{'s' * (many != 1)} were retrieved."
    if unsupported:
        return f"The response cites [{unsupported[0].number}], which does not support what it is cited for."
    return "The response answers from the passages without citing any of them."


def _citations(case: Case) -> list[Evidence]:
    outside, unsupported = unsupported_citations(case.record.response, case.found)
    notes = [(citation, "no such passage") for citation in outside]
    notes += [(citation, "does not support its sentence") for citation in unsupported]
    if not notes:
        return [Evidence(kind="citation", note="no passage is cited")]
    return [
        Evidence(
            kind="citation",
            note=f"[{citation.number}]: {note}",
            spans=(Span(where="response", start=citation.start, end=citation.end),),
        )
        for citation, note in notes[:SHOWN]
    ]


def _feedback(case: Case) -> list[Evidence]:
    found = []
    if case.opinion.vote is not None:
        found.append(Evidence(kind="feedback", note=_voted(case), score=case.opinion.vote))
    correction = case.opinion.correction
    if correction:
        held = (
            "says that it cannot be answered"
            if correction.abstains
            else ("the passages hold it" if correction.supported else "the passages do not hold it")
        )
        found.append(Evidence(kind="correction", note=f"a person gave {quoted(correction.text)}: {held}"))
    return found


def _voted(case: Case) -> str:
    """What the weightiest event says; what was read off behaviour says so itself."""
    event = case.opinion.event
    if event and event.kind is FeedbackKind.implicit:
        return quoted(event.comment or event.label or "implicit feedback")
    return f"somebody voted it {'down' if case.opinion.bad else 'up' if case.opinion.good else 'neither up nor down'}"


def _span(where: str, place: Sentence) -> Span:
    return Span(where=where, start=place.start, end=place.end)
