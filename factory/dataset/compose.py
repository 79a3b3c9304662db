"""What a training row looks like, and how many of each kind there are.

Three decisions, with their reasons:

* **The number of passages tells nothing.** An answer row shows its evidence and `distractors` others, and an
  abstention as many passages as some answer row does. Otherwise a model could refuse by counting.
* **`REORDERED_SHARE` of the answer rows have their passages shuffled.** Retrievers put the evidence
  first most of the time, and a model that always cites [1] would look good on such data. The
  other rows keep production's order, which is the one the model will meet.
* **The same question with and without its evidence** (twins) is the clearest lesson that the context
  decides, and costs no curator anything: both are kept while there are fewer than `FEW_ANSWERS`
  answer rows, when giving one up would cost too much. From there on every question is used once.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from factory.dataset.candidates import Candidate
from factory.dataset.citations import renumbered, without_marks
from factory.dataset.evidence import supports
from factory.dataset.split import fraction
from factory.mining.questions import Words, jaccard, words_of
from factory.mining.text import content_words
from logs_schema.records import Context, content_hash, passage_hash
from logs_schema.scores import GroundednessScorer, Track
from logs_schema.taxonomy import ExampleKind

REORDERED_SHARE = 0.25
FEW_ANSWERS = 400
DISSIMILAR = 0.3
"""Passages are borrowed only from questions that share fewer words than this (Jaccard)."""
OFF_TOPIC = 0.5
"""Borrowed passages hold less than this share of the question's content words."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The contexts and the completion of one row, before it is rendered."""

    candidate: Candidate
    kind: ExampleKind
    contexts: tuple[Context, ...]
    completion: str
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Donor:
    """A passage that was retrieved for some training question."""

    words: Words
    context: Context
    key: str


@dataclass(frozen=True, slots=True)
class Composer:
    """Builds the training rows of one dataset version; the same input gives the same rows."""

    donors: tuple[Donor, ...]
    distractors: int
    grounded: float
    groundedness: GroundednessScorer
    abstention: str
    evidence_counts: tuple[int, ...]
    """How many passages hold the answer, for each training answer, ascending."""
    seed: int

    def answer(self, candidate: Candidate) -> Draft:
        """The evidence and its distractors; all logged contexts when fewer would not support the answer."""
        logged, evidence = candidate.record.contexts, set(candidate.evidence)
        others = [rank for rank in range(len(logged)) if rank not in evidence][: self.distractors]
        ranks = sorted({*evidence, *others})
        shown = [logged[rank] for rank in ranks]
        plain = without_marks(candidate.completion)
        if self.groundedness([(plain, [context.text for context in shown])])[0] < self.grounded:
            ranks, shown = list(range(len(logged))), list(logged)
        shown += self._borrowed(candidate, len(evidence) + self.distractors - len(shown))
        order = list(range(len(shown)))
        if fraction(self.seed, "reorder", candidate.record_id) < REORDERED_SHARE:
            random.Random(f"{self.seed} {candidate.record_id}").shuffle(order)
        moved = {ranks[old]: new for new, old in enumerate(order) if old < len(ranks)}
        return Draft(
            candidate=candidate,
            kind=ExampleKind.answer,
            contexts=tuple(shown[old] for old in order),
            completion=renumbered(candidate.completion, moved),
            evidence=tuple(sorted(moved[rank] for rank in evidence)),
        )

    def abstain(self, candidate: Candidate) -> Draft:
        """What was retrieved, cut or filled up to the number of passages that answer rows have."""
        drawn = int(fraction(self.seed, "passages", candidate.record_id) * len(self.evidence_counts))
        wanted = self.distractors + (self.evidence_counts[drawn] if self.evidence_counts else 1)
        shown = list(candidate.record.contexts[:wanted])
        shown += self._borrowed(candidate, wanted - len(shown))
        return Draft(candidate, ExampleKind.abstain, tuple(shown), self.abstention)

    def without_evidence(self, candidate: Candidate) -> Draft | None:
        """An answerable question whose evidence, and whatever else supports the answer, is replaced.

        None when the store holds too few passages that certainly do not answer it.
        """
        logged = candidate.record.contexts
        wanted = len(candidate.evidence) + self.distractors
        telling = supports(
            candidate.completion,
            [context.text for context in logged],
            groundedness=self.groundedness,
            at_least=self.grounded,
        )
        sources = {logged[rank].doc_id for rank in candidate.evidence} - {None}
        shown = [
            context
            for rank, context in enumerate(logged)
            if rank not in candidate.evidence and not telling[rank] and context.doc_id not in sources
        ][:wanted]
        shown += self._borrowed(candidate, wanted - len(shown))
        texts = [context.text for context in shown]
        plain = without_marks(candidate.completion)
        if len(shown) < wanted or self.groundedness([(plain, texts)])[0] >= self.grounded:
            return None
        return Draft(candidate, ExampleKind.evidence_removed, tuple(shown), self.abstention)

    def _borrowed(self, candidate: Candidate, count: int) -> list[Context]:
        """Passages retrieved for dissimilar training questions that do not answer this one, as if drawn at random."""
        if count <= 0:
            return []
        found: list[Context] = []
        for donor in self._suitable_donors(candidate):
            if candidate.kind is ExampleKind.answer and any(
                supports(
                    candidate.completion, [donor.context.text], groundedness=self.groundedness, at_least=self.grounded
                )
            ):
                continue
            found.append(donor.context.model_copy(update={"score": None}))
            if len(found) == count:
                break
        return found

    def _suitable_donors(self, candidate: Candidate) -> Iterator[Donor]:
        logged = candidate.record.contexts
        words = words_of(candidate.record.query)
        own = {passage_hash(context.text) for context in logged}
        sources = {logged[rank].doc_id for rank in candidate.evidence} - {None}
        asked = {token.norm for token in content_words(candidate.record.query)}
        # Donors lie on a ring by the hash of their text; each record starts at its own place. So what is
        # borrowed looks drawn at random, and stays the same when other passages come.
        start = bisect_left(self.donors, content_hash([self.seed, candidate.record_id]), key=lambda donor: donor.key)
        for donor in chain(islice(self.donors, start, None), islice(self.donors, start)):
            if donor.key in own or donor.context.doc_id in sources or jaccard(donor.words, words) >= DISSIMILAR:
                continue
            held = {token.norm for token in content_words(donor.context.text)}
            if not asked or len(asked & held) / len(asked) < OFF_TOPIC:
                yield donor


def donors(candidates: Sequence[Candidate]) -> tuple[Donor, ...]:
    """Every passage retrieved for these questions, each once, by the hash of its text."""
    found: dict[str, Donor] = {}
    for candidate in sorted(candidates, key=lambda each: each.record_id):
        words = words_of(candidate.record.query)
        for context in candidate.record.contexts:
            key = passage_hash(context.text)
            found.setdefault(key, Donor(words, context, key))
    return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True, slots=True)
class Composition:
    """The training rows, and what was left out of them for balance."""

    drafts: tuple[Draft, ...]
    general: int
    """General rows that belong to them."""
    surplus: tuple[str, ...]
    """Record ids of abstentions beyond the share."""
    given_up: tuple[str, ...]
    """Record ids of answers that are used without their evidence instead."""


def compose(
    candidates: Sequence[Candidate],
    composer: Composer,
    *,
    unanswerable_share: float,
    evidence_removed_share: float,
    general_share: float,
    general_available: Callable[[int], int],
    track: Track,
) -> Composition:
    """Balance the training side.

    With a answers, x abstentions and g general rows, x / (a + x + g) is at most
    `unanswerable_share`, and g / (a + x + g) is about `general_share`.

    Args:
        candidates: the candidates on the training side.
        composer: makes the rows.
        unanswerable_share: most that abstentions may be of all training rows.
        evidence_removed_share: most that evidence-removed rows may be of the abstentions.
        general_share: what general rows should be of all training rows.
        general_available: for a number of wanted general rows, how many there are.
        track: shows progress.
    """
    answers = _drawn([each for each in candidates if each.kind is ExampleKind.answer], composer.seed)
    abstentions = _drawn([each for each in candidates if each.kind is ExampleKind.abstain], composer.seed)
    twins = len(answers) < FEW_ANSWERS
    ratio = unanswerable_share / (1 - unanswerable_share - general_share)
    most = len(answers) * ratio / (1 if twins else 1 + ratio * evidence_removed_share)
    general = general_available(_general(len(answers) + int(most), general_share))
    most = int(min(most, (len(answers) + general) * unanswerable_share / (1 - unanswerable_share)) + 1e-9)

    target = int(evidence_removed_share * most + 1e-9)
    taken = min(len(abstentions), most - target)
    if evidence_removed_share < 1:
        target = min(target, int(taken * evidence_removed_share / (1 - evidence_removed_share) + 1e-9))
    removed: list[Draft] = []
    for candidate in answers:
        if len(removed) == target:
            break
        draft = composer.without_evidence(candidate)
        removed += [draft] if draft else []
    taken = min(len(abstentions), most - len(removed))
    given_up = () if twins else tuple(sorted(draft.candidate.record_id for draft in removed))
    kept = [candidate for candidate in answers if candidate.record_id not in given_up]
    if not twins:
        taken = min(
            taken, max(0, int((len(kept) + general) * unanswerable_share / (1 - unanswerable_share)) - len(removed))
        )
    drafts = [
        *(composer.answer(candidate) for candidate in track(kept, description="Composing rows", total=len(kept))),
        *(composer.abstain(candidate) for candidate in abstentions[:taken]),
        *removed,
    ]
    return Composition(
        drafts=tuple(drafts),
        general=min(general, _general(len(drafts), general_share)),
        surplus=tuple(sorted(candidate.record_id for candidate in abstentions[taken:])),
        given_up=given_up,
    )


def _general(others: int, share: float) -> int:
    """General rows beside `others` rows, rounded up so that the share of abstentions is not exceeded."""
    return math.ceil(others * share / (1 - share) - 1e-9)


def _drawn(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """In an order as if drawn at random that depends on each record alone: what is taken stays when others come."""
    return sorted(candidates, key=lambda each: (fraction(seed, "drawn", each.record_id), each.record_id))
