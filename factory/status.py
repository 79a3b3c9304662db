"""One screen: is the factory healthy, and what is waiting for whom."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, and_, func
from sqlmodel import Session, col, select

from factory.jobs import last_run
from factory.settings import ScheduleSettings
from logs_schema.clocks import dated_in_the_future, newest_moment
from logs_schema.collapse import collapsed
from logs_schema.forgetting import Taint, tainted
from logs_schema.records import Value
from logs_schema.silence import silent
from logs_schema.tables import (
    Adapter,
    DatasetVersion,
    FindingRow,
    Forgotten,
    GateDecision,
    Interaction,
    Promotion,
    QueueItem,
    Review,
    now,
)
from logs_schema.taxonomy import Decision, Failure
from logs_schema.wording import counted

JOBS = ("nightly", "retrain")


class Status(Value):
    """Counts and moments; `problems` is empty when all is well."""

    records: int
    newest_record: datetime | None
    unmined: int
    findings: dict[str, int]
    """Primary failure → findings, without `none`."""
    queued: int
    """In the queue, not pushed to Argilla yet."""
    waiting: int
    """In Argilla, without a review."""
    reviews: int
    new_reviews: int
    """Reviews that can teach (an answer or an abstention) since the last dataset."""
    datasets: int
    last_dataset: str | None
    adapters: int
    champion: str | None
    """Adapter in production; None means the plain base model."""
    awaiting_approval: str | None
    """Adapter whose last gate passed and that was made after the champion."""
    forgotten: dict[str, Taint]
    """Adapter → rows of its dataset that were forgotten since."""
    jobs: dict[str, str]
    problems: tuple[str, ...]

    def text(self) -> str:
        """The screen."""
        newest = f"newest {self.newest_record:%Y-%m-%d %H:%M} UTC" if self.newest_record else "none yet"
        findings = ", ".join(f"{count:,} {name}" for name, count in self.findings.items()) or "none"
        lines = [
            f"logs       {counted(self.records, 'record')}, {newest}",
            f"mining     {counted(self.unmined, 'record')} not mined; findings: {findings}",
            f"curators   {self.queued:,} queued, {self.waiting:,} waiting in Argilla, "
            f"{counted(self.reviews, 'review')}",
            f"datasets   {self.datasets} built, last {self.last_dataset or '-'}; "
            f"{counted(self.new_reviews, 'new usable review')}",
            f"adapters   {self.adapters} trained, champion {self.champion or 'none (base model)'}",
        ]
        if self.awaiting_approval:
            adapter = self.awaiting_approval
            lines.append(f"approval   {adapter} passed the gate: `factory approve {adapter} --by NAME`")
        lines += [
            f"forgotten  {name} was made with forgotten rows: {rows.text()}" for name, rows in self.forgotten.items()
        ]
        lines += [f"{'job ' + name:<10} {said}" for name, said in self.jobs.items()]
        if self.problems:
            lines += ["", *(f"PROBLEM    {problem}" for problem in self.problems)]
        else:
            lines += ["", "all well"]
        return "\n".join(lines)


def status(engine: Engine, *, schedule: ScheduleSettings, miner_version: str) -> Status:
    """Look at every table; a problem says what to do about it."""
    problems: list[str] = []
    silent_after_hours = schedule.silent_after_hours
    with Session(engine) as session:

        def count(*where: ColumnElement[bool] | bool, of: type) -> int:
            return session.exec(select(func.count()).select_from(of).where(*where)).one()

        newest = newest_moment(session.connection())
        records = count(of=Interaction)
        mined = session.exec(
            select(func.count())
            .select_from(FindingRow)
            .join(Interaction, col(Interaction.id) == FindingRow.interaction_id)
            .where(FindingRow.miner_version == miner_version, FindingRow.record_hash == Interaction.content_hash)
        ).one()
        by_failure = session.exec(
            select(FindingRow.failure, func.count())
            .where(FindingRow.failure != Failure.none.value)
            .group_by(FindingRow.failure)
            .order_by(func.count().desc(), FindingRow.failure)
        ).all()
        reviewed = select(Review.interaction_id)
        last_dataset = session.exec(select(DatasetVersion).order_by(col(DatasetVersion.created_at).desc())).first()
        promotion = session.exec(select(Promotion).order_by(col(Promotion.id).desc())).first()
        champion = promotion.adapter_id if promotion else None
        since = promotion.created_at if promotion else None
        gate = session.exec(select(GateDecision).order_by(col(GateDecision.created_at).desc())).first()
        waiting_gate = gate is not None and gate.passed and (since is None or gate.created_at > since)
        if records == 0:
            problems.append("the store is empty: run `factory import FILE`")
        elif newest is not None and now() - newest > timedelta(hours=silent_after_hours):
            age = (now() - newest).total_seconds() / 3600
            problems.append(
                f"logs stopped: the newest is {age:.0f} hours old (limit {silent_after_hours:.0f}); "
                "look at the application's export and `factory nightly`"
            )
        if ahead := dated_in_the_future(session.connection()):
            dated = counted(ahead, "record is", "records are")
            problems.append(f"{dated} dated in the future: look at the clock of the application")
        problems += silent(engine, after=timedelta(hours=silent_after_hours))
        problems += collapsed(
            engine,
            newest=timedelta(hours=schedule.coverage_newest_hours),
            trailing=timedelta(hours=schedule.coverage_before_hours),
            drop=schedule.coverage_drop,
        )
        taint = tainted(session.connection())
        made = session.exec(select(Adapter.id, Adapter.dataset_id).order_by(Adapter.id)).all()
        forgotten = {adapter: taint[dataset] for adapter, dataset in made if dataset in taint}
        if champion in forgotten and (forgotten[champion].train or forgotten[champion].validation):
            problems.append(f"the champion {champion} was made with rows that were forgotten since: `factory retrain`")
        left = count(col(Forgotten.left).is_not(None), of=Forgotten)
        if left:
            items = counted(left, "forgotten item is", "forgotten items are")
            problems.append(f"{items} not deleted everywhere yet: run `factory logs forget` again")
        result = Status(
            records=records,
            newest_record=newest,
            unmined=records - mined,
            findings=dict(by_failure),
            queued=count(col(QueueItem.pushed_at).is_(None), of=QueueItem),
            waiting=count(
                col(QueueItem.pushed_at).is_not(None), col(QueueItem.interaction_id).not_in(reviewed), of=QueueItem
            ),
            reviews=count(of=Review),
            new_reviews=count(*usable_since(last_dataset.created_at if last_dataset else None), of=Review),
            datasets=count(of=DatasetVersion),
            last_dataset=last_dataset.id if last_dataset else None,
            adapters=count(of=Adapter),
            champion=champion,
            forgotten=forgotten,
            awaiting_approval=gate.adapter_id if gate is not None and waiting_gate else None,
            jobs={},
            problems=(),
        )
    jobs: dict[str, str] = {}
    for name in JOBS:
        run = last_run(engine, name)
        jobs[name] = (
            "never ran" if run is None else f"{run.started_at:%Y-%m-%d %H:%M} UTC: {run.outcome or 'not finished'}"
        )
        if run is not None and run.outcome is not None and run.outcome.startswith("failed"):
            problems.append(f"the last `factory {name}` {run.outcome}")
        elif run is not None and run.outcome is None and now() - run.started_at > timedelta(hours=24):
            problems.append(
                f"`factory {name}` began {run.started_at:%Y-%m-%d %H:%M} UTC and never finished: run it again"
            )
    return result.model_copy(update={"jobs": jobs, "problems": tuple(problems)})


def usable_since(moment: datetime | None) -> list[ColumnElement[bool]]:
    """Conditions on `Review`: it can teach, and came in after that moment (None: ever)."""
    teaches = and_(
        col(Review.decision).in_([Decision.answer.value, Decision.abstain.value]), col(Review.audit).is_(False)
    )
    return [teaches] if moment is None else [teaches, col(Review.pulled_at) > moment]
