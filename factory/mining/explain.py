"""The evidence behind a verdict: places in the texts, and what is known of documents and people."""

from collections.abc import Sequence

from factory.mining.case import Case
from factory.mining.citations import cited_sentences
from factory.mining.claims import Claim
from factory.mining.frame import lacking
from factory.mining.hops import read_hops
from factory.mining.text import Sentence
from factory.mining.why import NOTHING, SHOWN, answering, hit_of, quoted, states, telling, voted
from logs_schema.scores import Evidence, Span
from logs_schema.taxonomy import Failure


def evidence(case: Case, failures: dict[Failure, float]) -> tuple[Evidence, ...]:
    """What a person can check: sentences against passages, citations, feedback, versions."""
    found: list[Evidence] = []
    if Failure.over_refusal in failures and case.refusal:
        span = _span("response", case.refusal)
        found.append(Evidence(kind="refusal", note="says that it does not know", spans=(span,)))
    doubted = case.doubted
    if not doubted and Failure.unfaithful in failures:
        doubted = sorted(case.stated, key=case.support)[:1]
    if not doubted and failures.keys() & {Failure.missing_abstention, Failure.unfaithful}:
        kind, note = ("claim", "answers what no passage seems to answer") if states(case) else ("nothing", NOTHING)
        said = tuple(_span("response", claim.sentence) for claim in case.judged)
        found.append(Evidence(kind=kind, note=note, spans=said))
    found += _unsupported(case, doubted)
    if case.answer.context is not None:
        note = f"the sentence closest to the question, in [{case.answer.context + 1}]"
        span = _span(f"context:{case.answer.context}", answering(case, case.answer.context))
        sure = round(case.scores.sufficiency or 0.0, 4)
        found.append(Evidence(kind="holds_answer", note=note, spans=(span,), score=sure))
    if Failure.bad_citation in failures:
        found += _citations(case)
    for rank, newest in case.stale.items():
        context = case.record.contexts[rank]
        if newest.withdrawn:
            note = f"[{rank + 1}] is from a document that was withdrawn on {newest.updated_at:%Y-%m-%d}"
        else:
            made = f"the {context.updated_at:%Y-%m-%d} version" if context.updated_at else f"version {context.version}"
            note = f"[{rank + 1}] comes from {made} of its document; a newer one is of {newest.updated_at:%Y-%m-%d}"
        place = Span(where=f"context:{rank}", start=0, end=0)
        found.append(Evidence(kind="newer_version", note=note, spans=(place,)))
    if not case.held:
        found += _searched(case)
    found += _hops(case)
    if case.record.truncated:
        found.append(Evidence(kind="truncated", note="the logged prompt held less than was retrieved"))
    return (*found, *_feedback(case))


def _unsupported(case: Case, doubted: Sequence[Claim]) -> list[Evidence]:
    """A sentence each, with all its places when the response repeats it; those that are not named go together."""
    same: dict[tuple[str, ...], list[Claim]] = {}
    for claim in doubted:
        same.setdefault(claim.words, []).append(claim)
    groups = list(same.values())
    found = []
    for group in groups[:SHOWN]:
        claim = group[0]
        missing = lacking(claim)[:SHOWN]
        lack = f"in no passage: {', '.join(missing)}" if missing else "no passage says this"
        note = _noted(case, claim) or case.contradictions.get(claim.sentence) or lack
        spans = [_span("response", each.sentence) for each in group]
        if claim.context is not None and claim.place:
            spans.append(_span(f"context:{claim.context}", claim.place))
        found.append(Evidence(kind="unsupported", note=note, spans=tuple(spans), score=round(case.support(claim), 4)))
    rest = groups[SHOWN:]
    if rest:
        others = tuple(_span("response", claim.sentence) for group in rest for claim in group)
        found.append(Evidence(kind="unsupported_more", note=f"and {len(rest):,} more", spans=others))
    return found


def _noted(case: Case, claim: Claim) -> str | None:
    """What a dearer stage says of a sentence."""
    start, end = claim.sentence
    for one in case.scores.evidence:
        if one.spans and one.spans[0].start < end and start < one.spans[0].end and one.kind == "unsupported":
            return one.note
    return None


def _searched(case: Case) -> list[Evidence]:
    if case.searched is None:
        return []
    documents, logged = case.searched.documents, case.searched.logged
    parts = [f"{documents:,} document{'s' * (documents != 1)}"] if documents else []
    parts += [f"{logged:,} passage{'s' * (logged != 1)} that production ever retrieved"] if logged else []
    count = f"{' and '.join(parts)} {'was' if documents + logged == 1 else 'were'} searched"
    hit = case.searched.hit
    if hit is None:
        told = ", ".join(telling(case, None)[:SHOWN])
        lack = f"none of the others holds any of: {told}" if told else "none of the others comes near the question"
        return [Evidence(kind="corpus", note=f"{count}: {lack}", score=0.0)]
    better = "seems to hold the answer" if case.missed is not None else "does not clearly hold the answer either"
    note = f"{count}: the closest is {hit_of(case)} (document {quoted(hit.doc_id, 60)}); it {better}"
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


def _citations(case: Case) -> list[Evidence]:
    """What is wrong with each citation; nothing when there is none, which the verdict itself says."""
    response = case.record.response
    outside, unsupported = case.miscited
    backed = dict(cited_sentences(response))
    notes = [(citation, f"there is no passage [{citation.number}]") for citation in outside]
    for citation in unsupported:
        place = backed[citation]
        assert place is not None, "a citation without a sentence is never unsupported"
        said = quoted(response[place.start : place.end], 90)
        notes.append((citation, f"[{citation.number}] does not support {said}"))
    return [
        Evidence(
            kind="citation",
            note=note,
            spans=(Span(where="response", start=citation.start, end=citation.end),),
        )
        for citation, note in notes[:SHOWN]
    ]


def _feedback(case: Case) -> list[Evidence]:
    found = []
    if case.opinion.vote is not None:
        found.append(Evidence(kind="feedback", note=voted(case), score=case.opinion.vote))
    correction = case.opinion.correction
    if correction:
        held = (
            "says that it cannot be answered"
            if correction.abstains
            else ("the passages hold it" if correction.supported else "the passages do not hold it")
        )
        found.append(Evidence(kind="correction", note=f"a person gave {quoted(correction.text)}: {held}"))
    return found


def _span(where: str, place: Sentence) -> Span:
    return Span(where=where, start=place.start, end=place.end)
