"""Judging one batch of records: the part of a mining run that any process, on any machine, can do."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Engine

from factory.mining.cascade import Cascade, Stage, StageReport
from factory.mining.combination import Fit, shipped
from factory.mining.corpus import Corpus, Searched
from factory.mining.diagnose import diagnose
from factory.mining.finding import Finding
from factory.mining.lexical import lexical_scorer
from factory.mining.settings import MiningSettings
from logs_schema.documents import History, histories
from logs_schema.records import RagRecord
from logs_schema.scores import Scorer, Scores
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records

Read = Callable[[Sequence[str]], Sequence[RagRecord]]
"""Records by id; those that are gone are left out."""


class Judged(NamedTuple):
    """One record, judged."""

    record_hash: str
    """Content hash of the record that was judged."""
    finding: Finding
    unsearched: bool = False
    """The verdict waits for a search of the corpus, which the judging process could not make."""


class Batch(NamedTuple):
    """One batch, judged."""

    judged: list[Judged]
    stages: list[StageReport]
    """What each stage did for it."""


class Rules(NamedTuple):
    """What verdicts rest on, beside the records: enough to judge in another process."""

    settings: MiningSettings
    house: HouseSettings
    scorer: Scorer | None = None
    """The first stage; the scorer from words when None."""
    fits: Mapping[str, Fit] | None = None
    """The calibrations in force; the package's own when None."""

    def fit(self, name: str) -> Fit:
        """What turns measures into probabilities."""
        return self.fits[name] if self.fits else shipped(name)

    def cheap_stages(self) -> list[Stage]:
        """Stages that every process runs for itself."""
        return [Stage("words", self.scorer or lexical_scorer(self.house, self.fit("lexical")))]


class Known:
    """What the store knows beside the records, read when it is first needed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @cached_property
    def versions(self) -> History:
        """Versions of every document."""
        return histories(self._engine)

    @cached_property
    def corpus(self) -> Corpus:
        """The documents feed."""
        return Corpus(self._engine)


class Miner:
    """Judges records with the stages of one cascade.

    Args:
        rules: Thresholds and wordings.
        stages: What it scores with.
        read: Where records come from.
        versions: Known versions of documents, asked for when the first record is judged.
        search: Of the corpus; when None, verdicts that need one are marked as unsearched.
    """

    def __init__(
        self,
        rules: Rules,
        stages: Sequence[Stage],
        read: Read,
        versions: Callable[[], History],
        search: Callable[[RagRecord, str | None], Searched | None] | None,
    ) -> None:
        self._rules = rules
        self._cascade = Cascade(stages, rules.settings)
        self._read = read
        self._versions = versions
        self._search = search

    def judge(self, ids: Sequence[str]) -> Batch:
        """Score and diagnose records that were not judged yet."""
        records = self._read(ids)
        scores = self._cascade(records) if records else []
        return Batch(self._diagnosed(records, scores), self._cascade.take())

    def refine(self, batch: Batch) -> Batch:
        """Judge again what needs one of these stages or a search; a record that changed meanwhile stays as it is."""
        places = {}
        for place, one in enumerate(batch.judged):
            scores = one.finding.scores
            if one.unsearched or any(self._cascade.may_be_due(stage, scores) for stage in self._cascade.stages):
                places[one.finding.record_id] = place
        judged = list(batch.judged)
        records = [
            record
            for record in (self._read(list(places)) if places else ())
            if record.content_hash == judged[places[record.record_id]].record_hash
        ]
        before = [judged[places[record.record_id]] for record in records]
        refined = self._cascade.refine(records, [one.finding.scores for one in before])
        again = [
            (record, after)
            for record, one, after in zip(records, before, refined, strict=True)
            if one.unsearched or after != one.finding.scores
        ]
        for one in self._diagnosed([record for record, _ in again], [after for _, after in again]):
            judged[places[one.finding.record_id]] = one
        return Batch(judged, [*batch.stages, *self._cascade.take()])

    def _diagnosed(self, records: Sequence[RagRecord], scores: Sequence[Scores]) -> list[Judged]:
        return [self._diagnose(record, one) for record, one in zip(records, scores, strict=True)]

    def _diagnose(self, record: RagRecord, scores: Scores) -> Judged:
        settings, house, versions = self._rules.settings, self._rules.house, self._versions()
        asked = False

        def later(_record: RagRecord, _correction: str | None) -> None:
            nonlocal asked
            asked = True

        search = self._search or later
        finding = diagnose(record, scores, settings=settings, house=house, versions=versions, search=search)
        return Judged(record.content_hash, finding, asked)


def store_miner(engine: Engine, rules: Rules, stages: Sequence[Stage], known: Known) -> Miner:
    """A miner that reads everything from the store."""

    def read(ids: Sequence[str]) -> list[RagRecord]:
        return list(load_records(engine, ids).values())

    return Miner(rules, stages, read, lambda: known.versions, lambda *asked: known.corpus.search(*asked))
