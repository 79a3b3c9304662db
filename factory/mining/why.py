"""What is wrong with an answer, in one sentence of plain words."""

from factory.mining.case import Case
from factory.mining.frame import lacking
from factory.mining.text import Sentence, tokens
from logs_schema.records import FeedbackKind
from logs_schema.taxonomy import PRECEDENCE, Failure

QUOTED = 140
"""Characters of a quotation at the most."""
SHOWN = 5
"""Sentences or words that are named at the most."""
CLEAR = 0.7
"""From this share of the question's words on, the closest sentence is taken for the answer itself."""
CLEARLY_LACKING = 0.3
"""From this lack on, -1 to 1, a refusal is called right."""
NOTHING = "states nothing that could be checked"


def why(case: Case, failures: dict[Failure, float]) -> str:
    """One sentence on the primary failure."""
    primary = next((failure for failure in PRECEDENCE if failure in failures), Failure.none)
    if case.opinion.correction and primary is not Failure.stale_context:
        return _corrected(case, primary, failures)
    match primary:
        case Failure.unfaithful:
            if not states(case):
                return f"{_held(case)}, but the response {NOTHING}."
            return f"{_held(case)}, but the response says {_claim(case)}, {_unsupported(case)}."
        case Failure.over_refusal:
            return f"{_held(case)}, but the response says that it does not know."
        case Failure.incomplete:
            return f"{_held(case)}, but the response leaves out what it says{_left_out(case)}{_complaint(case)}."
        case Failure.bad_citation:
            return _citation(case)
        case Failure.bad_format:
            return f"The response does not have the required format: {case.misfit}."
        case Failure.missing_abstention:
            if not states(case):
                return f"{_lacking(case)}, but instead of saying so the response {NOTHING}."
            return f"{_lacking(case)}, but the response answers anyway: {_claim(case)}."
        case Failure.truncated_context:
            return "The prompt held less of the passages than was retrieved: the window cut them off."
        case Failure.stale_context:
            return _stale(case)
        case Failure.retrieval_miss:
            return f"{_refused(case)} Yet the corpus holds it: {hit_of(case)}, which was not retrieved."
        case Failure.knowledge_gap:
            return f"{_refused(case)} No document of the corpus covers it either."
        case Failure.insufficient_context:
            return _refused(case)
        case _:
            return _nothing(case)


def quoted(text: str, limit: int = QUOTED) -> str:
    """The text on one line between quotes (typographic ones when it holds others), cut at a word."""
    line = " ".join(text.split())
    if len(line) > limit:
        line = line[: limit - 1].rsplit(" ", 1)[0] + " …"
    return f"“{line}”" if '"' in line else f'"{line}"'


def states(case: Case) -> bool:
    """Whether the response holds more than frames of an answer."""
    return not case.judged or bool(case.stated)


def _refused(case: Case) -> str:
    rightly = "rightly " if not case.record.contexts or case.lack >= CLEARLY_LACKING else ""
    return f"{_lacking(case)}, and the response {rightly}says that it does not know."


def _lacking(case: Case) -> str:
    if not case.record.contexts:
        return "Nothing was retrieved"
    if case.sufficient >= 0 and case.missed is None and case.opinion.complaint:
        return f"It is doubtful whether a passage answers this{_unasked(case)}{_complaint(case)}"
    return f"No passage seems to answer this{_unasked(case)}"


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


def hit_of(case: Case) -> str:
    """The passage of the corpus that comes closest, quoted when it may be."""
    hit = case.searched.hit if case.searched else None
    if hit is None:
        return "nothing"
    named = quoted(hit.title or hit.doc_id, 60)
    return f"{quoted(hit.text)} in {named}" if hit.text else f"a passage of {named}, found for other questions"


def _nothing(case: Case) -> str:
    said = "The passages seem to answer this, and they support the response"
    if case.opinion.bad:
        return f"{said}: nothing wrong can be shown, although {voted(case)}."
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
        found = " The corpus holds it: " + hit_of(case) + "." if Failure.retrieval_miss in failures else ""
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
    place = answering(case, case.answer.context)
    sentence = quoted(text[place.start : place.end])
    holding = case.answer.holding
    if case.sufficient > 0.4 and holding.sentence >= CLEAR and not holding.unlike:
        return f"Passage [{case.answer.context + 1}] answers this ({sentence})"
    return f"Passage [{case.answer.context + 1}] seems to hold the answer (closest sentence: {sentence})"


def _claim(case: Case) -> str:
    bad = case.doubted or sorted(case.stated, key=case.support)
    if not bad:
        return quoted(case.record.response)
    return quoted(case.record.response[bad[0].sentence.start : bad[0].sentence.end])


def _unsupported(case: Case) -> str:
    """What is wrong with the claim that `_claim` quotes."""
    plain = case.contradictions.get(case.doubted[0].sentence) if case.doubted else None
    if plain:
        return f"which contradicts the passage: {plain}"
    if case.faithful < 0:
        return f"which no passage supports{_missing(case)}"
    return f"which the passages support only in part{_missing(case)}{_complaint(case)}"


def _complaint(case: Case) -> str:
    return f", and {voted(case)}" if case.opinion.complaint else ""


def _left_out(case: Case) -> str:
    """What the closest sentence adds to the question, as written, without what the response repeats."""
    if case.answer.context is None:
        return ""
    held = {token.norm for token in tokens(case.record.response)}
    place = answering(case, case.answer.context)
    sentence = case.record.contexts[case.answer.context].text[place.start : place.end]
    left = [
        sentence[token.start : token.end]
        for token in tokens(sentence)
        if token.norm in case.answer.words and token.norm not in held
    ]
    return f" ({', '.join(list(dict.fromkeys(left))[:SHOWN])})" if left else ""


def _missing(case: Case) -> str:
    missing = lacking(case.doubted[0])[:SHOWN] if case.doubted else ()
    return f" (in no passage: {', '.join(missing)})" if missing else ""


def _unasked(case: Case) -> str:
    near = case.answer.context
    told = telling(case, near)[:SHOWN]
    lack = "the closest has" if near is not None else "there is"
    return f" ({lack} nothing on {', '.join(told)})" if told else ""


def telling(case: Case, near: int | None) -> list[str]:
    """Words of the question that say what it is about, as written, without those that a passage holds."""
    query = case.record.query
    told = [
        query[word.start : word.end]
        for word in tokens(query)
        if word.weight == 1 and not (near is not None and case.found[near].holds(word.norm))
    ]
    return list(dict.fromkeys(told))


def answering(case: Case, context: int) -> Sentence:
    """The sentence of a passage that is closest to the question."""
    return case.found[context].sentences[case.answer.at or 0]


def _citation(case: Case) -> str:
    outside, unsupported = case.miscited
    if outside:
        many = len(case.record.contexts)
        return f"The response cites [{outside[0].number}], but only {many} passage{'s' * (many != 1)} were retrieved."
    if unsupported:
        return f"The response cites [{unsupported[0].number}], which does not support what it is cited for."
    return "The response cites none of the retrieved passages."


def voted(case: Case) -> str:
    """What the weightiest event says; what was read off behaviour says so itself."""
    event = case.opinion.event
    if event and event.kind is FeedbackKind.implicit:
        return quoted(event.comment or event.label or "implicit feedback")
    return f"a user voted it {'down' if case.opinion.bad else 'up' if case.opinion.good else 'neither up nor down'}"
