"""All that a verdict on one record rests on, read once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from factory.mining.answers import Answer
from factory.mining.citations import Citation
from factory.mining.claims import SHORT, Claim
from factory.mining.contradiction import contradiction
from factory.mining.corpus import Searched
from factory.mining.feedback import GROUNDED, Opinion, read_feedback
from factory.mining.format import misfit
from factory.mining.frame import stated
from factory.mining.lexical import claimed, read
from factory.mining.passage import Passage, passages
from factory.mining.settings import MiningSettings
from factory.mining.text import Sentence
from logs_schema.documents import History, Version
from logs_schema.records import Context, RagRecord
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings

Search = Callable[[RagRecord, str | None], Searched | None]
"""Looks for an answer in the corpus: see `corpus.Corpus.search`."""
DOUBT = 0.2
"""Contexts no more than this above the threshold hold the answer, unless the corpus holds a much better passage: wrong
passages on the right topic come that far (chosen on the demo's help centre)."""


@dataclass(frozen=True)
class Case:
    """A record, its scores, and what was read off its texts."""

    record: RagRecord
    scores: Scores
    settings: MiningSettings
    found: list[Passage]
    answer: Answer
    judged: tuple[Claim, ...]
    miscited: tuple[list[Citation], list[Citation]]
    """Citations that are out of range, and citations whose passage does not support their sentence."""
    refuses: bool
    """The response says "I don't know" and claims nothing beside it."""
    refusal: Sentence | None
    """The sentence that says "I don't know", whether or not it claims something beside it."""
    opinion: Opinion
    stale: dict[int, Version]
    """Rank of a passage → the newer version (or the withdrawal) of its document when the question was asked."""
    searched: Searched | None = None
    """What the corpus holds, when the contexts do not hold the answer; None when it was not searched."""

    @property
    def sufficient(self) -> float:
        """-1 to 1: how far sufficiency is from its threshold; 0 and more means sufficient."""
        return _margin(self.scores.sufficiency or 0.0, self.settings.sufficient)

    @property
    def held(self) -> bool:
        """The contexts hold the answer: a person's correction decides, else the score, what the corpus holds, and a
        complaint about an answer that they support.
        """
        correction = self.opinion.correction
        if correction:
            return correction.supported
        sufficient = self.scores.sufficiency or 0.0
        disputed = not (self.refusal or self.unsupported) and self.complained(sufficient, self.settings.sufficient)
        return self.sufficient >= 0 and self.missed is None and not disputed

    @property
    def doubtful(self) -> bool:
        """Whether the corpus is worth a search: the contexts do not hold the answer, or not clearly."""
        if self.opinion.correction:
            return not self.held
        return (self.scores.sufficiency or 0.0) < self.settings.sufficient + DOUBT

    @property
    def missed(self) -> float | None:
        """By how much (0 to 1) a passage of the corpus covers the question better than what was retrieved; None when
        none does that is enough of an answer, or only the newer version of a retrieved one does.
        """
        hit = self.searched.hit if self.searched else None
        outdated = {self.record.contexts[rank].doc_id for rank in self.stale}
        if hit is None or hit.doc_id in outdated:
            return None
        corrected = self.opinion.correction is not None
        had = 0.0 if corrected else self.scores.sufficiency or 0.0
        needed = GROUNDED if corrected else self.settings.sufficient
        return hit.covered - had if hit.covered >= max(needed, had + self.settings.much_better) else None

    @property
    def lack(self) -> float:
        """0 to 1: how clearly the contexts do not hold the answer."""
        return max(-self.sufficient, self.missed or 0.0)

    def complained(self, value: float, threshold: float) -> bool:
        """Whether a person voted down what a score near its threshold lets pass: it goes to review.

        A threshold of 0 lets everything pass.
        """
        return self.opinion.complaint and threshold > 0 and value - threshold < self.settings.unsettled

    @property
    def unsupported(self) -> bool:
        """The response says what the contexts do not support: by its score, plainly, or a person doubts it, too."""
        if self.faithful < 0 or self.contradictions:
            return True
        faithfulness = self.scores.faithfulness
        return faithfulness is not None and self.complained(faithfulness, self.settings.faithful)

    @property
    def incomplete(self) -> bool:
        """The response leaves out what the closest sentence holds: by its score, or a person doubts it, too."""
        repeated = self.scores.completeness
        least = self.settings.incomplete
        return repeated is not None and (repeated < least or self.complained(repeated, least))

    @cached_property
    def contradictions(self) -> dict[Sentence, str]:
        """Sentence → how it contradicts a passage; a dearer stage that looked at it knows better."""
        told = (
            (claim, contradiction(claim, self.record.response, self.record.query, self.record.contexts))
            for claim in self.judged
            if not self._told(claim)
        )
        return {claim.sentence: how for claim, how in told if how}

    @cached_property
    def misfit(self) -> str | None:
        """What is wrong with the format of the response."""
        return misfit(self.record.response, self.settings.format_regex, self.settings.format_schema)

    @cached_property
    def stated(self) -> list[Claim]:
        """The claims that are more than frames of an answer."""
        return stated(self.record.response, self.judged)

    @cached_property
    def doubted(self) -> list[Claim]:
        """Claims that contradict a passage, then those that would not count as supported if they stood alone: the worst
        first, in order when nearly as bad, and those too short to say much last.
        """
        plain = self.contradictions

        def place(claim: Claim) -> tuple[bool, bool, float, int]:
            short = claim.weight < SHORT
            return claim.sentence not in plain, short, round(self.support(claim), 1), claim.sentence.start

        return sorted(
            (one for one in self.stated if one.sentence in plain or self.support(one) < self.settings.faithful),
            key=place,
        )

    def support(self, claim: Claim) -> float:
        """0 to 1: faithfulness of one claim for itself: what a dearer stage says of its sentence, else its words."""
        return self._supports[claim.sentence]

    @cached_property
    def _supports(self) -> dict[Sentence, float]:
        return {claim.sentence: self._support(claim) for claim in self.judged}

    def _support(self, claim: Claim) -> float:
        told = self._told(claim)
        return min(told) if told else claimed(claim)

    def _told(self, claim: Claim) -> list[float]:
        """What a dearer stage says of the sentence."""
        start, end = claim.sentence
        return [
            one.score
            for one in self.scores.evidence
            if one.spans and one.score is not None and one.spans[0].start < end and start < one.spans[0].end
        ]

    @property
    def faithful(self) -> float:
        """-1 to 1, likewise; 1 when the response claims nothing."""
        faithfulness = self.scores.faithfulness
        return 1.0 if faithfulness is None else _margin(faithfulness, self.settings.faithful)


def read_case(
    record: RagRecord, scores: Scores, *, settings: MiningSettings, house: HouseSettings, versions: History
) -> Case:
    """Read the texts and the feedback of a record."""
    reading = read(record, house)
    return Case(
        record=record,
        scores=scores,
        settings=settings,
        found=passages(record.contexts),
        answer=reading.answer,
        judged=reading.judged,
        miscited=reading.miscited,
        refuses=bool(scores.abstained) and not reading.abstention.claims,
        refusal=reading.abstention.refusal,
        opinion=read_feedback(record, house.abstention),
        stale=_stale(record, versions),
    )


def _stale(record: RagRecord, versions: History) -> dict[int, Version]:
    stale = {}
    for rank, context in enumerate(record.contexts):
        known = versions.get(context.doc_id, ()) if context.doc_id is not None else ()
        there = [version for version in known if version.updated_at and version.updated_at <= record.occurred_at]
        if there and _outdated(context, there):
            stale[rank] = there[-1]
    return stale


def _outdated(context: Context, there: list[Version]) -> bool:
    """Whether a newer version was there, or the document was withdrawn (which an undated context may be, too)."""
    newest = there[-1]
    named = (version.updated_at for version in there if context.version and version.version == context.version)
    made: datetime | None = context.updated_at or next(named, None)
    if newest.updated_at is None:
        return False
    return made < newest.updated_at if made else newest.withdrawn


def _margin(value: float, threshold: float) -> float:
    room = 1 - threshold if value >= threshold else threshold
    return (value - threshold) / room if room else 0.0
