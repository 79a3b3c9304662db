"""From scores to a finding: which failures hold, how sure that is, and a sentence that a curator believes.

The thresholds are settings; the weights of `confidence` only rank. A score near its threshold gives a low
confidence: "right topic, answer missing" cannot be told from words alone.
"""

from dataclasses import replace

from factory.mining.case import Case, Search, read_case
from factory.mining.explain import evidence as evidence_of
from factory.mining.feedback import Correction, read_feedback
from factory.mining.finding import Finding
from factory.mining.lexical import groundedness
from factory.mining.settings import MiningSettings
from factory.mining.text import content_words
from factory.mining.why import quoted
from factory.mining.why import why as why_of
from factory.mining.words import SMALL_TALK
from logs_schema.documents import History
from logs_schema.records import RagRecord
from logs_schema.scores import Evidence, Scores
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import ESCALATED, PRECEDENCE, ROUTES, TICKET, Failure, Route

SURE = 0.95
"""A person's correction that the contexts bear out."""
NO_MORE = 0.85
"""Confidence that scores alone can give: what comes above rests on a person or on a plain fact."""
CONTRADICTED = 0.85
"""How sure a plain contradiction is, once the contexts hold the answer: see `contradiction`."""
BORNE_OUT = 0.5
"""How much less sure it is that the contexts lack an answer that they certainly support."""
VOTED_DOWN = 0.15
VOTED_UP = -0.25


def diagnose(
    record: RagRecord,
    scores: Scores,
    *,
    settings: MiningSettings,
    house: HouseSettings,
    versions: History,
    search: Search | None = None,
) -> Finding:
    """The failures of one record, in the order of `taxonomy.PRECEDENCE`.

    Args:
        record: The interaction.
        scores: Its scores, from any scorer.
        settings: Thresholds.
        house: The wording of "I don't know".
        versions: Known versions of each document, see `logs_schema.documents.histories`.
        search: Looks for an answer in the corpus, see `corpus.Corpus.search`; None when there is no corpus to search.
    """
    if TICKET in record.tags:
        return _ticket(record, scores, house)
    reason = _not_judged(record, scores)
    if reason:
        return _finding(record, scores, {}, (), reason)
    case = read_case(record, scores, settings=settings, house=house, versions=versions)
    if search and case.doubtful and not case.record.truncated:
        written = case.opinion.correction
        case = replace(case, searched=search(record, written.text if written and not written.abstains else None))
    failures = _behaviour(case)
    failures |= _causes(case, failures)
    vote = case.opinion.vote or 0.0
    shift = VOTED_DOWN * -vote if vote < 0 else VOTED_UP * vote
    failures = {
        failure: sure if sure >= SURE else min(max(sure + shift, 0.05), 0.98) for failure, sure in failures.items()
    }
    finding = _finding(record, scores, failures, evidence_of(case, failures), why_of(case, failures))
    return finding.model_copy(update={"vote": case.opinion.vote})


def _ticket(record: RagRecord, scores: Scores, house: HouseSettings) -> Finding:
    """A ticket is never judged: its documents are what a person used, not what the assistant saw.

    With a resolution and documents it is a candidate, ranked by how far these bear the resolution out; one that
    the assistant could not help with comes first among equals.
    """
    correction = read_feedback(record, house.abstention).correction
    texts = [context.text for context in record.contexts if context.text.strip()]
    if correction is None:
        return _finding(
            record, scores, {}, (), "A ticket that no person has resolved: there is no answer to learn from."
        )
    if not texts:
        why = "A person resolved this ticket, but it names no documents that could bear the resolution out."
        return _finding(record, scores, {}, (), why)
    support = groundedness([(correction.text, texts)])[0]
    escalated = ESCALATED in record.tags
    kind = "escalated ticket" if escalated else "ticket"
    why = f"A person resolved this {kind}; its documents support the resolution by {support:.2f} of 1."
    return _finding(record, scores, {}, (), why).model_copy(
        update={"route": Route.ticket, "confidence": round(0.9 * support + 0.1 * escalated, 4)}
    )


def _behaviour(case: Case) -> dict[Failure, float]:
    """What the model did wrong, by failure, with confidence."""
    correction = case.opinion.correction
    if correction:
        return _corrected(case, correction)
    sufficient = case.scores.sufficiency or 0.0
    if not case.held:
        # What a refusal adds from the passages, such as what else they say, is no outside knowledge.
        if case.refuses or (case.refusal and not case.unsupported):
            return {}
        if not case.record.contexts:
            return {Failure.missing_abstention: 0.85}
        lacking = min(max(1 - sufficient, case.missed or 0.0), NO_MORE)
        doubt = BORNE_OUT * (case.scores.faithfulness or 0.0)  # what a passage says is seldom made up
        plain = {} if case.unsupported else _plain(case)
        return plain | {Failure.missing_abstention: lacking * (1 - doubt)}
    if case.refuses:
        return {Failure.over_refusal: min(sufficient, NO_MORE)}
    failures = _form(case)
    if case.unsupported:
        repeats = case.scores.completeness or 0.0
        wrong = (1 - (case.scores.faithfulness or 0.0)) * (1 - 0.5 * repeats)
        failures[Failure.unfaithful] = min(sufficient * max(wrong, CONTRADICTED * bool(case.contradictions)), NO_MORE)
    elif case.incomplete:
        repeats = (case.scores.completeness or 0.0) / case.settings.incomplete
        failures[Failure.incomplete] = 0.5 * sufficient * max(1 - repeats, 0.0)
    return failures


def _corrected(case: Case, correction: Correction) -> dict[Failure, float]:
    """A person gave the answer: whether the contexts hold it says what went wrong."""
    if correction.supported:
        if case.refuses:
            return {Failure.over_refusal: SURE}
        says_else = correction.given < 0.5 and correction.agreed < 0.5
        return _form(case) | {Failure.unfaithful if case.unsupported or says_else else Failure.incomplete: SURE}
    if case.refuses:
        return {}
    return {Failure.missing_abstention: SURE if correction.abstains else 0.7}


def _form(case: Case) -> dict[Failure, float]:
    """Citations and format of a response that answers from sufficient contexts."""
    failures = _plain(case)
    if case.settings.citations and case.judged and Failure.bad_citation not in failures:
        cited, unsupported = len(case.scores.citations), case.miscited[1]
        if not cited:
            failures[Failure.bad_citation] = 0.4 + 0.4 * max(case.sufficient, 0.0)
        elif 2 * len(unsupported) >= cited:
            failures[Failure.bad_citation] = 0.3 + 0.3 * max(case.sufficient, 0.0)
    return failures


def _plain(case: Case) -> dict[Failure, float]:
    """What is wrong with the form of a response that the contexts support, whether or not it answers the question."""
    failures: dict[Failure, float] = {}
    if case.settings.citations and case.judged and case.miscited[0]:
        failures[Failure.bad_citation] = 0.9
    if case.misfit:
        failures[Failure.bad_format] = 0.8
    return failures


def _causes(case: Case, failures: dict[Failure, float]) -> dict[Failure, float]:
    """What was wrong with the contexts."""
    causes: dict[Failure, float] = {}
    if case.record.truncated:
        causes[Failure.truncated_context] = 0.8 if not case.held else 0.5
    if case.stale:
        used = {case.answer.context} | {support.context for support in case.judged}
        causes[Failure.stale_context] = 0.9 if used & set(case.stale) else 0.5
    cause, factor = _in_corpus(case)
    known = Failure.truncated_context in causes or (causes and cause is Failure.insufficient_context)
    if not case.held and not known:
        sure = 0.9 if not case.record.contexts else 0.7 if case.opinion.correction else 0.2 + 0.5 * case.lack
        causes[cause] = sure * factor
    return causes


def _in_corpus(case: Case) -> tuple[Failure, float]:
    """Why the contexts do not hold the answer, and how clear that is: the corpus was searched, or nothing is known."""
    outdated = {case.record.contexts[rank].doc_id for rank in case.stale}
    if case.searched is None or (case.searched.hit and case.searched.hit.doc_id in outdated):
        return Failure.insufficient_context, 1.0
    covered = case.searched.hit.covered if case.searched.hit else 0.0
    if case.missed is not None:
        return Failure.retrieval_miss, 0.6 + 0.4 * covered
    disputed = case.sufficient >= 0 and not case.opinion.correction
    if case.searched.documents and covered < case.settings.uncovered and not disputed:
        return Failure.knowledge_gap, 1 - 0.5 * covered / case.settings.uncovered
    return Failure.insufficient_context, 1.0


def _not_judged(record: RagRecord, scores: Scores) -> str | None:
    if record.error:
        return f"The application logged an error ({quoted(record.error)}): there is no answer to judge."
    if not record.response.strip():
        return "The response is empty: there is no answer to judge."
    if record.contexts and scores.sufficiency is None:
        return "The log holds no text of the retrieved passages: the answer cannot be judged."
    words = [word.norm for word in content_words(record.query)]
    if not record.contexts and all(word in SMALL_TALK for word in words):
        return "Nothing was asked that passages could answer."
    return None


def _finding(
    record: RagRecord, scores: Scores, failures: dict[Failure, float], evidence: tuple[Evidence, ...], why: str
) -> Finding:
    ranked = [failure for failure in PRECEDENCE if failure in failures]
    primary = ranked[0] if ranked else Failure.none
    return Finding(
        record_id=record.record_id,
        failure=primary,
        secondary=tuple(ranked[1:]),
        route=ROUTES[primary] if ranked else Route.no_action,
        confidence=round(failures.get(primary, 0.0), 4),
        scores=scores,
        evidence=evidence,
        why=why,
    )
