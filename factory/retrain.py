"""Scheduled retraining: build, train, evaluate, gate, promote, in this order; or nothing due.

Each stage keeps what it made under a content hash, so that running again is resuming.
"""

from typing import Any

from pydantic import Field
from sqlalchemy import Engine, func
from sqlmodel import Session, select

from factory.callables import abstention_detector, general_rows
from factory.jobs import job, last_run
from factory.settings import Settings
from factory.status import usable_since
from logs_schema.records import Value
from logs_schema.scores import Track
from logs_schema.tables import DatasetVersion, Review
from logs_schema.wording import counted


class RetrainReport(Value):
    """How far it came, and each stage's own report."""

    outcome: str
    """`promoted`, `awaiting approval`, `refused`, `nothing new` or `nothing due`."""
    why: str
    adapter_id: str | None = None
    stages: dict[str, Any] = Field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """False when the gate refused."""
        return self.outcome != "refused"

    def text(self) -> str:
        """The stages and, last, the outcome."""
        return "\n\n".join([*self.texts, f"retrain: {self.outcome}: {self.why}"])


def due(engine: Engine, min_new_reviews: int) -> tuple[bool, str]:
    """Whether a retraining is due, and why (not)."""
    run = last_run(engine, "retrain")
    if run is not None and (run.outcome is None or run.outcome.startswith("failed")):
        return True, f"the run of {run.started_at:%Y-%m-%d %H:%M} UTC did not finish"
    with Session(engine) as session:
        newest = session.exec(select(func.max(DatasetVersion.created_at))).one()
        reviews = session.exec(select(func.count()).select_from(Review).where(*usable_since(newest))).one()
    since = f"since the dataset of {newest:%Y-%m-%d %H:%M} UTC" if newest else "in the store"
    return (
        reviews >= min_new_reviews,
        f"{counted(reviews, 'usable review')} {since}, {counted(min_new_reviews, 'makes', 'make')} a retraining due",
    )


def retrain(engine: Engine, settings: Settings, *, if_due: bool, track: Track) -> RetrainReport:
    """Run the stages under the jobs' lock.

    A refused gate is a result, not an error: look at `passed`. The champion changes only when the gate
    passed and `[schedule] promotion` is `auto`.

    Raises:
        NotReadyError: another job runs, or there is too little to build a dataset from.
    """
    lock = settings.path(".groundmill/factory.lock")
    is_due, why = due(engine, settings.schedule.min_new_reviews)
    if if_due and not is_due:
        with job(engine, "retrain", lock) as running:
            running.outcome = "nothing due"
        return RetrainReport(outcome="nothing due", why=why)
    with job(engine, "retrain", lock) as running:
        report = _stages(engine, settings, track)
        running.outcome = report.outcome
        running.report = {"why": report.why, "adapter_id": report.adapter_id}
    return report


def _stages(engine: Engine, settings: Settings, track: Track) -> RetrainReport:
    from factory.dataset.build import build
    from factory.mining.lexical import groundedness
    from training.pipeline import run_evaluation, run_gate, run_training
    from training.registry import approve, champion

    stages: dict[str, Any] = {}
    texts: list[str] = []
    abstains = abstention_detector(settings)

    def done(name: str, report: Any) -> None:
        stages[name] = report.model_dump(mode="json")
        texts.append(report.text())

    def ended(outcome: str, why: str, adapter_id: str) -> RetrainReport:
        return RetrainReport(outcome=outcome, why=why, adapter_id=adapter_id, stages=stages, texts=tuple(texts))

    built = build(
        engine,
        settings.dataset,
        settings.house,
        folder=settings.path(settings.dataset.folder),
        groundedness=groundedness,
        is_abstention=abstains,
        general=general_rows(settings),
        track=track,
    )
    done("dataset", built)
    trained = run_training(engine, settings.training, root=settings.root, dataset_id=built.dataset_id, track=track)
    done("train", trained)
    adapter = trained.adapter_id
    current = champion(engine)
    if current is not None and current.adapter_id == adapter:
        return ended(
            "nothing new", f"the same data and settings made adapter {adapter}, which is the champion", adapter
        )
    evaluated = run_evaluation(
        engine,
        settings.evaluation,
        settings.training,
        root=settings.root,
        is_abstention=abstains,
        groundedness=groundedness,
        adapter_id=adapter,
        track=track,
    )
    done("evaluation", evaluated)
    decision = run_gate(engine, settings.gate, adapter_id=adapter)
    done("gate", decision)
    if not decision.passed:
        failed = ", ".join(check.name for check in decision.checks if not check.passed)
        return ended("refused", f"the gate refused adapter {adapter} ({failed}); what runs today stays", adapter)
    if settings.schedule.promotion == "manual":
        return ended("awaiting approval", f"`factory approve {adapter} --by NAME` makes it the champion", adapter)
    done("promotion", approve(engine, adapter, by="factory retrain", note="promotion = auto"))
    return ended("promoted", f"adapter {adapter} is the champion", adapter)
