"""How good the miner is, by the team's own reviews: precision from the queue, recall from the audit slice.

Precision is that of what was queued, so of the surest findings. The audit slice is drawn at random, so recall, and
the base rates to compare with, are those of all traffic. A record counts once, however many people reviewed it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Engine, func, select

from factory.mining.calibration import Calibration, calibration
from factory.mining.intervals import share, told, weighted
from factory.mining.queue import JUDGEABLE
from logs_schema.errors import NotReadyError
from logs_schema.records import Value
from logs_schema.rows import FINDING, INTERACTION, QUEUE, REVIEW
from logs_schema.taxonomy import ROUTES, Decision, Failure, QueueReason, Route
from logs_schema.wording import counted
from training.metrics import Figure

FEW = 20
"""Fewer reviewed records than this tell nothing: the interval is wider than half the scale."""
STRATUM = 10
"""Audit records that a stretch of time needs to be weighted by itself."""
GOOD_CONTEXT = tuple(f.value for f in Failure if ROUTES[f] is Route.behaviour and f is not Failure.missing_abstention)
UNANSWERED = Failure.missing_abstention.value


class KindQuality(Value):
    """What reviews say of one failure."""

    failure: str
    precision: Figure
    """Of the reviewed findings, those where the curators saw what it claims: a bad answer to a good context, or for
    `missing_abstention` an answer that the context does not hold."""
    named: Figure
    """Of those confirmed where a curator named the failure, those that named this one."""
    recall: Figure
    """Of the audit records where a curator named this failure, those that the miner flags with it; weighted."""


class RecallOf(Value):
    """How much of one sort of bad answers the miner flags, measured on the audit slice."""

    what: str
    recall: Figure
    base_rate: Figure
    """Share of all answers that are of this sort: the precision of flagging everything. Weighted."""


class PeriodQuality(Value):
    """Reviews of one stretch of time, or of one version of the miner."""

    name: str
    precision: Figure
    """Of the findings that were reviewed, as `KindQuality.precision`."""
    bad_audits: Figure
    """Of the audit records that were reviewed, those with a bad answer; unweighted."""


class Quality(Value):
    """The miner by the team's own reviews."""

    reviewed: int
    """Records of the queue with a review that can be used."""
    audits: int
    """Of these, those of the audit slice."""
    not_usable: int
    disputed: int
    """Records on which reviewers decided differently; most count, then the newest."""
    kinds: tuple[KindQuality, ...]
    recall: tuple[RecallOf, ...]
    always_refusing: Figure
    """Share of all answers for which "I don't know" is right: what a model scores that always refuses. Weighted."""
    calibration: Calibration
    """Of the confidence of reviewed findings."""
    periods: tuple[PeriodQuality, ...]
    versions: tuple[PeriodQuality, ...]
    """By the miner's version when the record was queued, in the order in which they were first reviewed."""
    too_few: tuple[str, ...]
    """Figures that rest on too few reviews to tell anything."""

    def text(self) -> str:
        """Tables and what they rest on."""
        findings = self.reviewed - self.audits
        unusable = counted(self.not_usable, "more was", "more were")
        lines = [
            f"{counted(self.reviewed, 'reviewed record')}: {counted(findings, 'queued finding')}, {self.audits:,} of "
            f"the random audit slice; {unusable} not usable, on {self.disputed:,} "
            "reviewers disagreed.",
            "Brackets: 95 % intervals. In parentheses: records that the figure was measured on.",
            "",
            "Precision of what was queued (the surest first, so not of all findings):",
        ]
        for kind in self.kinds:
            lines.append(f"  {kind.failure:<20}{told(kind.precision):<28} curators name the same {told(kind.named)}")
        lines += ["", "Recall, from the audit slice (weighted to all traffic), of the miner as it is now:"]
        for row in self.recall:
            lines.append(f"  {row.what:<44}{told(row.recall):<28} flagging everything is right {told(row.base_rate)}")
        named = [kind for kind in self.kinds if kind.recall.n]
        lines += [f"  {'named ' + kind.failure:<44}{told(kind.recall)}" for kind in named]
        lines.append(
            f"  always refusing would be right on {told(self.always_refusing)}: what `{UNANSWERED}` is up against"
        )
        lines += ["", *self.calibration.lines()]
        courses = {"Over time, by when they were reviewed:": self.periods, "By miner version:": self.versions}
        for title, course in courses.items():
            lines += ["", title] if course else []
            for part in course:
                audits = f" bad among audits {told(part.bad_audits)}" if part.bad_audits.n else ""
                lines.append(f"  {part.name:<18}{told(part.precision):<28}{audits}".rstrip())
        if self.too_few:
            lines += ["", f"Too few reviews (under {FEW}) to tell: {', '.join(self.too_few)}."]
        return "\n".join(lines)


class Judged(NamedTuple):
    """One reviewed record."""

    audit: bool
    failure: str
    """That it was queued for; of an audit record the failure that the miner finds now."""
    confidence: float | None
    version: str | None
    truth: Decision
    named: str | None
    """Failure that a curator named."""
    refused: bool
    """The response says "I don't know" and claims nothing."""
    occurred_at: datetime
    reviewed_at: datetime

    @property
    def good_context(self) -> bool:
        """A bad answer although the context holds a better one."""
        return self.truth is Decision.answer

    @property
    def unanswered(self) -> bool:
        """An answer that the context does not hold."""
        return self.truth is Decision.abstain and not self.refused

    @property
    def confirmed(self) -> bool:
        """The failure claims what the curators saw."""
        return self.unanswered if self.failure == UNANSWERED else self.failure in GOOD_CONTEXT and self.good_context


def quality(engine: Engine, *, by: str = "month") -> Quality:
    """Measure the miner on all reviews that `factory label pull` keeps.

    Args:
        engine: The store.
        by: `week` or `month`, the periods over time.

    Raises:
        NotReadyError: there is no review yet.
    """
    judged, not_usable, disputed = _judged(engine)
    if not judged and not not_usable:
        raise NotReadyError("There is no review yet: `factory label push`, let curators decide, `factory label pull`.")
    findings = [case for case in judged if not case.audit]
    audits = _weights(engine, [case for case in judged if case.audit])
    kinds = tuple(_kind(failure, findings, audits) for failure in (*GOOD_CONTEXT, UNANSWERED))
    recall = (
        _recall("bad answer although the context was good", audits, lambda case: case.good_context, GOOD_CONTEXT),
        _recall("answer that the context does not hold", audits, lambda case: case.unanswered, (UNANSWERED,)),
    )
    sure = [(case.confidence, case.confirmed) for case in findings if case.confidence is not None]
    figures = {f"precision of {kind.failure}": kind.precision for kind in kinds}
    figures |= {f"recall of “{row.what}”": row.recall for row in recall}
    return Quality(
        reviewed=len(judged),
        audits=len(audits),
        not_usable=not_usable,
        disputed=disputed,
        kinds=kinds,
        recall=recall,
        always_refusing=weighted([(weight, _refusing_is_right(case)) for weight, case in audits]),
        calibration=calibration(sure),
        periods=_course(judged, lambda case: f"{case.reviewed_at:{'%G week %V' if by == 'week' else '%Y-%m'}}"),
        versions=_course(findings, lambda case: case.version or "unknown"),
        too_few=tuple(name for name, figure in figures.items() if figure.n < FEW),
    )


def precision_of(engine: Engine, failure: Failure) -> Figure | None:
    """Of the reviewed findings of this kind, the share that the curators confirmed; None when too few are reviewed."""
    findings = [case for case in _judged(engine)[0] if not case.audit]
    found = _kind(failure.value, findings, []).precision
    return found if found.n >= FEW else None


def _kind(failure: str, findings: Sequence[Judged], audits: Sequence[tuple[float, Judged]]) -> KindQuality:
    mine = [case for case in findings if case.failure == failure]
    confirmed = [case for case in mine if case.confirmed]
    named = [case.named == failure for case in confirmed if case.named]
    there = [(weight, case.failure == failure) for weight, case in audits if case.named == failure and _bad(case)]
    return KindQuality(
        failure=failure,
        precision=share(len(confirmed), len(mine)),
        named=share(sum(named), len(named)),
        recall=weighted(there),
    )


def _recall(
    what: str, audits: Sequence[tuple[float, Judged]], holds: Callable[[Judged], bool], flags: Sequence[str]
) -> RecallOf:
    there = [(weight, case.failure in flags) for weight, case in audits if holds(case)]
    return RecallOf(
        what=what, recall=weighted(there), base_rate=weighted([(weight, holds(case)) for weight, case in audits])
    )


def _bad(case: Judged) -> bool:
    return case.good_context or case.unanswered


def _refusing_is_right(case: Judged) -> bool:
    """No answer is in the context; a curator who calls a refusal good says the same."""
    return case.truth is Decision.abstain or (case.truth is Decision.good_as_is and case.refused)


def _course(judged: Sequence[Judged], name: Callable[[Judged], str]) -> tuple[PeriodQuality, ...]:
    rows: dict[str, list[Judged]] = defaultdict(list)
    for case in sorted(judged, key=lambda case: case.reviewed_at):
        rows[name(case)].append(case)
    course = []
    for label, cases in rows.items():
        found = [case.confirmed for case in cases if not case.audit]
        drawn = [_bad(case) for case in cases if case.audit]
        precision, bad = share(sum(found), len(found)), share(sum(drawn), len(drawn))
        course.append(PeriodQuality(name=label, precision=precision, bad_audits=bad))
    return tuple(course)


# --- reading --------------------------------------------------------------------------------------

_COLUMNS = (
    REVIEW.c.interaction_id,
    REVIEW.c.decision,
    REVIEW.c.failure.label("named"),
    REVIEW.c.reviewed_at,
    REVIEW.c.audit,
    QUEUE.c.failure.label("queued_for"),
    QUEUE.c.confidence,
    QUEUE.c.miner_version,
    FINDING.c.failure.label("found"),
    FINDING.c.scores,
    INTERACTION.c.occurred_at,
)


def _judged(engine: Engine) -> tuple[list[Judged], int, int]:
    """Reviewed findings and audit records; how many more were not usable; on how many reviewers disagreed."""
    joined = (
        REVIEW.join(QUEUE, QUEUE.c.interaction_id == REVIEW.c.interaction_id)
        .join(INTERACTION, INTERACTION.c.id == REVIEW.c.interaction_id)
        .outerjoin(FINDING, FINDING.c.interaction_id == REVIEW.c.interaction_id)
    )
    query = select(*_COLUMNS).select_from(joined).where(QUEUE.c.reason != QueueReason.ticket.value)
    query = query.order_by(REVIEW.c.interaction_id, REVIEW.c.reviewed_at.desc(), REVIEW.c.id)
    judged: list[Judged] = []
    not_usable = disputed = 0
    with engine.connect() as connection:
        for _, group in groupby(connection.execute(query), key=lambda row: row.interaction_id):
            rows = list(group)
            votes = Counter(row.decision for row in rows if row.decision != Decision.not_usable.value)
            disputed += len(votes) > 1
            if not votes:
                not_usable += 1
                continue
            newest = rows[0]
            truth = Decision(votes.most_common(1)[0][0])  # the newest of equals: counted first
            scores = newest.scores or {}
            judged.append(
                Judged(
                    audit=newest.audit,
                    failure=(newest.found if newest.audit else newest.queued_for) or Failure.none.value,
                    confidence=newest.confidence,
                    version=newest.miner_version,
                    truth=truth,
                    named=next((row.named for row in rows if row.decision == truth.value and row.named), None),
                    refused=bool(scores.get("abstained")) and scores.get("faithfulness") is None,
                    occurred_at=newest.occurred_at,
                    reviewed_at=newest.reviewed_at,
                )
            )
    return judged, not_usable, disputed


def _weights(engine: Engine, audits: Sequence[Judged]) -> list[tuple[float, Judged]]:
    """Each audit record with the number of records that it stands for.

    A fixed number of audits waits at a time, so that busy months are drawn more thinly: months, taken together until
    they hold enough audits, are weighted by the records that came in then.
    """
    ordered = sorted(audits, key=lambda case: case.occurred_at)
    strata: list[list[Judged]] = []
    for _, group in groupby(ordered, key=lambda case: (case.occurred_at.year, case.occurred_at.month)):
        if strata and len(strata[-1]) < STRATUM:
            strata[-1] += group
        else:
            strata.append(list(group))
    if len(strata) > 1 and len(strata[-1]) < STRATUM:
        last = strata.pop()
        strata[-1] += last
    begins = [_month(some[0].occurred_at) for some in strata[1:]]
    weights = []
    with engine.connect() as connection:
        for begin, end, some in zip((None, *begins), (*begins, None), strata, strict=bool(strata)):
            where = [INTERACTION.c.occurred_at >= begin] if begin else []
            where += [INTERACTION.c.occurred_at < end] if end else []
            there = connection.scalar(select(func.count()).select_from(INTERACTION).where(JUDGEABLE, *where)) or 0
            weights += [(there / len(some), case) for case in some]
    return weights


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
