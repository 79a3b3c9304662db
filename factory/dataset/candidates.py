"""From reviews to rows: every guard is passed here, and what is left out is counted with its reason."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from factory.dataset.citations import without_marks
from factory.dataset.evidence import cite, documents
from factory.dataset.reviews import Case, Verdict
from factory.dataset.split import Row
from factory.guards.access import open_to_all
from factory.guards.answer import citations_in_range, contexts_logged, grounded_or_abstention, is_pure_abstention
from factory.guards.conflict import agreed, same_answer
from factory.guards.freshness import Latest, current_evidence, same_guidelines, unchanged
from factory.mining.questions import words_of
from factory.mining.text import tokens
from logs_schema.records import PromptTemplate, RagRecord
from logs_schema.scores import AbstentionDetector, GroundednessScorer
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import Decision, ExampleKind

REPEATED = "the same question, contexts and answer as another row"
GOOD_AS_IS = "good as it is: nothing to teach"
NOT_USABLE = "not usable, says the curator"
RECORD_GONE = "the record is no longer in the store"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the guards go by."""

    house: HouseSettings
    grounded: float
    allowed_groups: tuple[str, ...] | None
    groundedness: GroundednessScorer
    is_abstention: AbstentionDetector
    latest: Latest

    def template(self, record: RagRecord) -> PromptTemplate:
        """The prompt that production used, else the house's."""
        return record.prompt or PromptTemplate(system=self.house.system_prompt)

    def abstains(self, answer: str) -> bool:
        """Whether an ideal answer is "I don't know" and nothing else."""
        return is_pure_abstention(without_marks(answer), is_abstention=self.is_abstention, house=self.house.abstention)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reviewed record that passed every guard."""

    record_id: str
    record: RagRecord
    template: PromptTemplate
    verdict: Verdict
    kind: ExampleKind
    """`answer` or `abstain`."""
    completion: str
    """With citations of the logged ranks; the house wording for an abstention."""
    evidence: tuple[int, ...]
    """Ranks of the logged contexts that hold the answer; empty for an abstention."""
    failure: str | None
    audit: bool

    @property
    def row(self) -> Row:
        """What the split needs to know."""
        keys = documents(self.record.contexts, self.evidence)
        return Row(self.record_id, words_of(self.record.query), keys, self.audit)


def judge(case: Case, record: RagRecord, rules: Rules) -> Candidate | str:
    """The candidate that a case gives, else the reason why it is left out.

    Of several agreeing reviews the newest is taken. `good_as_is` gives a row for audit records
    only: a person approved what production answered. Which failure the curator named does not
    matter here: an answer to what was routed to retrieval still has to be grounded.
    """
    verdict = case.verdicts[0]
    refusal = agreed(verdict.decision for verdict in case.verdicts)
    if refusal:
        return refusal
    if verdict.decision is Decision.not_usable:
        return NOT_USABLE
    if verdict.decision is Decision.good_as_is and not case.audit:
        return GOOD_AS_IS
    contexts = record.contexts
    refusal = (
        same_guidelines(verdict.guidelines_version, rules.house.guidelines_version)
        or unchanged(verdict.record_hash, record)
        or contexts_logged(contexts)
        or open_to_all(contexts, rules.allowed_groups)
    )
    if refusal:
        return refusal
    template = rules.template(record)
    answer = ideal_answer(verdict, record)
    if answer is None:
        return _candidate(case, record, template, ExampleKind.abstain, rules.house.abstention, ())
    refusal = citations_in_range(answer, len(contexts)) or grounded_or_abstention(
        answer,
        [context.text for context in contexts],
        groundedness=rules.groundedness,
        is_abstention=rules.is_abstention,
        house=rules.house.abstention,
        at_least=rules.grounded,
    )
    if refusal:
        return refusal
    if rules.abstains(answer):
        return _candidate(case, record, template, ExampleKind.abstain, rules.house.abstention, ())
    completion, evidence = _cited(answer, record, rules)
    refusal = current_evidence((contexts[rank] for rank in evidence), rules.latest)
    return refusal or _candidate(case, record, template, ExampleKind.answer, completion, evidence)


def ideal_answer(verdict: Verdict, record: RagRecord) -> str | None:
    """The answer that a review stands for; None for an abstention.

    What the answer field holds when the decision is `abstain` is the untouched draft: it is not looked at.
    """
    if verdict.decision is Decision.abstain:
        return None
    if verdict.decision is Decision.good_as_is:
        return (verdict.ideal_answer or "").strip() or record.response
    return verdict.ideal_answer or ""


def consistent(candidates: Iterable[Candidate]) -> tuple[list[Candidate], dict[str, list[str]]]:
    """Candidates without contradictions and repetitions, and the record ids left out by reason.

    Prompts are near-identical when question (but for case, punctuation and endings), history and
    set of passages are the same. Of repeated rows the one with the smallest record id stays;
    audit rows are a sample and are never thinned out.
    """
    groups: dict[object, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda each: each.record_id):
        record = candidate.record
        question = tuple(token.norm for token in tokens(record.query)) or record.query
        passages = frozenset(context.text for context in record.contexts)
        groups[question, record.history, passages].append(candidate)
    kept: list[Candidate] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for members in groups.values():
        refusal = same_answer([each.completion if each.kind is ExampleKind.answer else None for each in members])
        if refusal:
            left_out[refusal] += [each.record_id for each in members]
            continue
        taken: set[object] = set()
        for each in members:
            same = (each.record.query, each.record.contexts, each.completion)
            if each.audit or same not in taken:
                kept.append(each)
            else:
                left_out[REPEATED].append(each.record_id)
            taken.add(same)
    return sorted(kept, key=lambda each: each.record_id), dict(left_out)


def related_row(case: Case | None, record: RagRecord, rules: Rules) -> Row:
    """What the split needs to know of a record that gives no row now, but was placed or is kept for the audit."""
    answers = [ideal_answer(verdict, record) for verdict in case.verdicts] if case else []
    answer = next((each for each in answers if each and not rules.abstains(each)), None)
    keys: frozenset[str] = frozenset()
    if answer and record.contexts and not citations_in_range(answer, len(record.contexts)):
        keys = documents(record.contexts, _cited(answer, record, rules)[1])
    return Row(record.record_id, words_of(record.query), keys, case.audit if case else False)


def _cited(answer: str, record: RagRecord, rules: Rules) -> tuple[str, tuple[int, ...]]:
    return cite(
        answer,
        record.contexts,
        rules.template(record),
        groundedness=rules.groundedness,
        at_least=rules.grounded,
    )


def _candidate(
    case: Case,
    record: RagRecord,
    template: PromptTemplate,
    kind: ExampleKind,
    completion: str,
    evidence: Sequence[int],
) -> Candidate:
    return Candidate(
        record_id=case.record_id,
        record=record,
        template=template,
        verdict=case.verdicts[0],
        kind=kind,
        completion=completion,
        evidence=tuple(evidence),
        failure=case.failure,
        audit=case.audit,
    )
