"""The closed vocabularies: what can be wrong with an answer, and who can mend it.

Members are lowercase because SQLAlchemy stores enum columns by member name.
"""

from enum import StrEnum

TICKET = "kind:ticket"
"""Tag of a record that is a support ticket and no answer of the application."""
ESCALATED = "escalated"
"""Tag of a record whose user was handed to a person."""


class Failure(StrEnum):
    """What is wrong with one logged answer."""

    unfaithful = "unfaithful"
    """Context sufficient; the response says what it does not support, or contradicts it."""
    over_refusal = "over_refusal"
    """Context sufficient; the response says "I don't know"."""
    incomplete = "incomplete"
    """Context sufficient; the response leaves out what it holds."""
    bad_citation = "bad_citation"
    """Citations missing, out of range, or not supporting their sentence."""
    bad_format = "bad_format"
    """A required output format is broken."""
    missing_abstention = "missing_abstention"
    """Context insufficient; the response answers anyway."""
    retrieval_miss = "retrieval_miss"
    """Context insufficient, and the corpus is known to hold the answer."""
    stale_context = "stale_context"
    """A newer version of a retrieved document existed."""
    truncated_context = "truncated_context"
    """The context was cut by the window."""
    knowledge_gap = "knowledge_gap"
    """Context insufficient, and a corpus feed was searched and holds nothing."""
    insufficient_context = "insufficient_context"
    """Context insufficient, and nothing more is known."""
    none = "none"
    """A good answer, or nothing wrong can be shown."""


class Route(StrEnum):
    """Who can mend it. Only `behaviour`, and tickets that curators reviewed, are ever trained on."""

    behaviour = "behaviour"
    retrieval = "retrieval"
    content = "content"
    prompt = "prompt"
    ticket = "ticket"
    """A person's resolution of a support ticket: a candidate for curators, and nothing is known to be wrong."""
    no_action = "no_action"


ROUTES: dict[Failure, Route] = {
    Failure.unfaithful: Route.behaviour,
    Failure.over_refusal: Route.behaviour,
    Failure.incomplete: Route.behaviour,
    Failure.bad_citation: Route.behaviour,
    Failure.bad_format: Route.behaviour,
    Failure.missing_abstention: Route.behaviour,
    Failure.retrieval_miss: Route.retrieval,
    Failure.stale_context: Route.retrieval,
    Failure.truncated_context: Route.prompt,
    Failure.knowledge_gap: Route.content,
    Failure.insufficient_context: Route.retrieval,
    Failure.none: Route.no_action,
}


class WorkKind(StrEnum):
    """What can be wrong outside the model's behaviour: an item of the work list."""

    retrieval_miss = Failure.retrieval_miss.value
    stale_context = Failure.stale_context.value
    truncated_context = Failure.truncated_context.value
    knowledge_gap = Failure.knowledge_gap.value
    insufficient_context = Failure.insufficient_context.value
    multi_hop = "multi_hop"
    """One passage alone is not enough."""


PRECEDENCE: tuple[Failure, ...] = (
    Failure.unfaithful,
    Failure.over_refusal,
    Failure.incomplete,
    Failure.bad_citation,
    Failure.bad_format,
    Failure.missing_abstention,
    Failure.truncated_context,
    Failure.stale_context,
    Failure.retrieval_miss,
    Failure.knowledge_gap,
    Failure.insufficient_context,
)
"""The first of several failures is the primary one: good-context failures first, they are what the product is for."""


SESSIONS = "sessions"
"""Name of the step that reads signals off sessions, in the table of watermarks."""


class Signal(StrEnum):
    """Identifier of the implicit feedback that is read off sessions; no other feedback may bear one of them."""

    escalated = "session:escalated"
    """A person had to take over."""
    rephrased = "session:rephrased"
    """The same person asked nearly the same again."""
    abandoned = "session:abandoned"
    """The session ended right after an answer that had already failed: a weak sign."""


class MiningEngine(StrEnum):
    """Where the miner judges records."""

    local = "local"
    ray = "ray"


class Decision(StrEnum):
    """What a curator decided about one record."""

    answer = "answer"
    """The production answer is bad; the ideal one is given and the context supports it."""
    abstain = "abstain"
    """The context does not hold the answer: the ideal answer is "I don't know"."""
    good_as_is = "good_as_is"
    """The production answer is good; the miner was wrong (or it is an audit record)."""
    not_usable = "not_usable"
    """Cannot be judged or must not be used (unclear question, private content, …)."""


class QueueReason(StrEnum):
    """Why a record is in the review queue."""

    finding = "finding"
    """The miner flagged it."""
    audit = "audit"
    """Uniformly random, unseen by the miner; never trained on."""
    ticket = "ticket"
    """A support ticket that a person resolved, with documents: its resolution is the draft."""


class ExampleKind(StrEnum):
    """What an example teaches."""

    answer = "answer"
    """Answer from the context, cite it, ignore distractors."""
    abstain = "abstain"
    """What was retrieved does not hold the answer (a curator said so)."""
    evidence_removed = "evidence_removed"
    """An answerable question whose evidence was taken out of the context: abstain."""
    general = "general"
    """General instruction data that protects general ability."""


class Split(StrEnum):
    """Side of the leak-free split."""

    train = "train"
    validation = "validation"
    test = "test"


class PromotionAction(StrEnum):
    """What one row of the append-only promotion log did."""

    promote = "promote"
    rollback = "rollback"
