"""Scorers in the order of their price: a dearer one sees only the records that the cheaper ones leave unsettled."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

from pydantic import Field

from factory.mining.settings import MiningSettings
from logs_schema.records import RagRecord, Value
from logs_schema.scores import Scorer, Scores
from logs_schema.taxonomy import TICKET
from logs_schema.wording import counted


class Stage(NamedTuple):
    """One scorer of the cascade. It sets those scores that it measures; all others stay what they were."""

    name: str
    score: Scorer
    measures: frozenset[str] = frozenset({"faithfulness", "sufficiency"})
    """Which of these two it measures: it sees a record when one of them is unsettled."""
    spent: Callable[[], Mapping[str, int]] = dict
    """What it has cost so far, beside time: unit → count."""


class StageReport(Value):
    """What one stage did in a run."""

    name: str
    saw: int = 0
    """Records that it was given."""
    settled: int = 0
    """Of those: no score that it measures is unsettled any more."""
    seconds: float = 0.0
    """Time spent in it, over all processes."""
    spent: dict[str, int] = Field(default_factory=dict)
    """What else it cost: unit → count."""
    pending: dict[str, int] = Field(default_factory=dict)
    """Why it did not look at records that it was given → how many; they are due for mining again."""

    def __add__(self, other: "StageReport") -> "StageReport":
        """Both together."""
        return StageReport(
            name=self.name,
            saw=self.saw + other.saw,
            settled=self.settled + other.settled,
            seconds=self.seconds + other.seconds,
            spent=dict(Counter(self.spent) + Counter(other.spent)),
            pending=dict(Counter(self.pending) + Counter(other.pending)),
        )

    def text(self) -> str:
        """One line, and one for each reason why records were left."""
        spent = "".join(f", {counted(count, unit.removesuffix('s'), unit)}" for unit, count in self.spent.items())
        seen = counted(self.saw, "record")
        lines = [f"  {self.name} saw {seen}, settled {self.settled:,} ({self.seconds:,.1f} s{spent})"]
        lines += [
            f"    {counted(count, 'was', 'were')} left for the next run: {reason}"
            for reason, count in self.pending.items()
        ]
        return "\n".join(lines)


def unsettled(scores: Scores, settings: MiningSettings) -> set[str]:
    """Which of faithfulness and sufficiency lie nearer to their threshold than `[mining] unsettled`."""
    near = {"faithfulness": settings.faithful, "sufficiency": settings.sufficient}
    found = set()
    for name, threshold in near.items():
        value = getattr(scores, name)
        if value is not None and abs(value - threshold) < settings.unsettled:
            found.add(name)
    return found


def aligned(probability: float, threshold: float, onto: float) -> float:
    """A stage's probability, moved so that its own threshold falls onto the miner's; 0 and 1 stay."""
    if probability < threshold:
        return probability / threshold * onto
    return onto + (probability - threshold) / (1 - threshold) * (1 - onto)


def refined(before: Scores, after: Scores, stage: str) -> Scores:
    """The scores, with what a stage measured in the place of what was there."""
    measured = {name: value for name in after.model_fields_set if (value := getattr(after, name)) is not None}
    update = {**measured, "pending": after.pending}
    if measured.keys() - {"pending"}:
        update["stages"] = (*before.stages, stage)
    return before.model_copy(update=update)


class Cascade:
    """A scorer made of stages. It counts what each of them did."""

    def __init__(self, stages: Sequence[Stage], settings: MiningSettings) -> None:
        self.stages = tuple(stages)
        self._settings = settings
        self._reports: dict[str, StageReport] = {}
        self._spent: dict[str, Counter[str]] = {stage.name: Counter(stage.spent()) for stage in stages}

    def __call__(self, records: Sequence[RagRecord]) -> list[Scores]:
        """Scores of records that no stage has seen: the first stage sees all of them."""
        first, *dearer = self.stages
        scores = self._run(first, records, [Scores()] * len(records), range(len(records)))
        return self._refine(dearer, records, scores)

    def refine(self, records: Sequence[RagRecord], scores: Sequence[Scores]) -> list[Scores]:
        """Scores that other stages gave, each refined by the stages that its record needs."""
        return self._refine(self.stages, records, scores)

    def due(self, stage: Stage, record: RagRecord, scores: Scores) -> bool:
        """Whether a stage has to look at a record; tickets and failed calls are never worth a dear one."""
        judged = not (TICKET in record.tags or record.error) and bool(record.response.strip() and record.contexts)
        return judged and self.may_be_due(stage, scores)

    def may_be_due(self, stage: Stage, scores: Scores) -> bool:
        """As `due`, as far as the scores alone tell."""
        return not stage.measures.isdisjoint(unsettled(scores, self._settings))

    def take(self) -> list[StageReport]:
        """What the stages did since this was last asked."""
        taken, self._reports = list(self._reports.values()), {}
        return taken

    def _refine(self, stages: Sequence[Stage], records: Sequence[RagRecord], scores: Sequence[Scores]) -> list[Scores]:
        present = list(scores)
        for stage in stages:
            due = [n for n, record in enumerate(records) if self.due(stage, record, present[n])]
            present = self._run(stage, records, present, due) if due else present
        return present

    def _run(
        self, stage: Stage, records: Sequence[RagRecord], scores: Sequence[Scores], due: Sequence[int]
    ) -> list[Scores]:
        present = list(scores)
        started = perf_counter()
        measured = stage.score([records[n] for n in due])
        seconds = perf_counter() - started
        for n, after in zip(due, measured, strict=True):
            present[n] = refined(present[n], after, stage.name)
        self._count(stage, [present[n] for n in due], seconds)
        return present

    def _count(self, stage: Stage, scores: Sequence[Scores], seconds: float) -> None:
        spent = Counter(stage.spent())
        report = StageReport(
            name=stage.name,
            saw=len(scores),
            settled=sum(stage.measures.isdisjoint(unsettled(one, self._settings)) for one in scores),
            seconds=seconds,
            spent=dict(spent - self._spent[stage.name]),
            pending=dict(Counter(one.pending for one in scores if one.pending)),
        )
        self._spent[stage.name] = spent
        before = self._reports.get(stage.name)
        self._reports[stage.name] = before + report if before else report
