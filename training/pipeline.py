"""Train, evaluate and gate with the store: what the commands and the scheduled retraining call."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from logs_schema.errors import NotReadyError
from logs_schema.forgetting import tainted
from logs_schema.lookup import newest_or_named
from logs_schema.records import PromptTemplate, Value, content_hash
from logs_schema.scores import AbstentionDetector, GroundednessScorer, Track, untracked
from logs_schema.store import writing
from logs_schema.tables import DatasetVersion, Prompt, now
from training.adapter import TrainReport, verify
from training.evaluate import evaluate
from training.gate import GateReport, decide
from training.registry import EVALUATION, GATE, RegisteredAdapter, champion, find_adapter, register_adapter
from training.report import EvaluationReport
from training.settings import EvaluationSettings, GateSettings, TrainingSettings
from training.sft import train

DATASET: Any = DatasetVersion.__table__  # type: ignore[attr-defined]
PROMPT: Any = Prompt.__table__  # type: ignore[attr-defined]


def run_training(
    engine: Engine,
    settings: TrainingSettings,
    *,
    root: Path,
    dataset_id: str | None = None,
    track: Track = untracked,
) -> TrainReport:
    """Train an adapter on a dataset (the newest by default) and register it; a finished one is re-used.

    Raises:
        NotReadyError: there is no dataset, or no base model.
        InputError: the id names no dataset or several, or its folder is damaged.
        ConfigurationError: the device, the model or the recipe cannot be used.
    """
    located = settings.located(root)
    dataset = _dataset(engine, dataset_id)
    with engine.connect() as connection:
        hashes = dataset.manifest.get("prompt_hashes", [])
        known = {
            row.hash: PromptTemplate.model_validate(row.template)
            for row in connection.execute(select(PROMPT).where(PROMPT.c.hash.in_(hashes)))
        }
    templates = [known[name] for name in hashes if name in known]
    report = train(Path(dataset.path), located, Path(located.adapters), templates=templates, track=track)
    register_adapter(engine, report)
    return report


def run_evaluation(
    engine: Engine,
    settings: EvaluationSettings,
    training_settings: TrainingSettings,
    *,
    root: Path,
    is_abstention: AbstentionDetector,
    groundedness: GroundednessScorer | None = None,
    adapter_id: str | None = None,
    dataset_id: str | None = None,
    track: Track = untracked,
) -> EvaluationReport:
    """Evaluate an adapter (the newest by default) on held-out rows, against the present champion.

    The rows are those of the dataset that it was trained on, unless another one is named.

    Raises:
        NotReadyError: there is no adapter, or nothing to evaluate on.
        InputError: an id names nothing or too much, or a folder is damaged.
    """
    adapter = find_adapter(engine, adapter_id)
    current = champion(engine)
    report = evaluate(
        Path(_dataset(engine, dataset_id or adapter.dataset_id).path),
        Path(adapter.path),
        Path(current.path) if current and current.adapter_id != adapter.adapter_id else None,
        settings,
        training_settings.located(root),
        out=(root / settings.folder).absolute(),
        is_abstention=is_abstention,
        groundedness=groundedness,
        track=track,
    )
    with writing(engine) as connection:
        if connection.execute(select(EVALUATION.c.id).where(EVALUATION.c.id == report.evaluation_id)).first() is None:
            connection.execute(
                insert(EVALUATION).values(
                    id=report.evaluation_id,
                    adapter_id=report.adapter_id,
                    champion_id=report.champion_id,
                    dataset_id=report.dataset_id,
                    path=report.path,
                    report=report.model_dump(mode="json"),
                    created_at=now(),
                )
            )
        else:
            connection.execute(
                EVALUATION.update().where(EVALUATION.c.id == report.evaluation_id).values(created_at=now())
            )
    return report


def run_gate(engine: Engine, settings: GateSettings, *, adapter_id: str | None = None) -> GateReport:
    """Put an adapter's latest evaluation (the newest adapter by default) through the gate, and keep the decision.

    A refusal is a result, not an error. The same decision again adds nothing.

    Raises:
        NotReadyError: it was not evaluated yet, or against another champion than the present one.
    """
    adapter = find_adapter(engine, adapter_id)
    current = champion(engine)
    with engine.connect() as connection:
        row = _latest(connection, EVALUATION, adapter.adapter_id)
    command = f"`factory eval --adapter {adapter.adapter_id}`"
    if row is None:
        raise NotReadyError(f"Adapter {adapter.adapter_id} has not been evaluated: run {command} first.")
    report = EvaluationReport.model_validate(row.report)
    present = current.adapter_id if current else None
    if report.champion_id != present and present != adapter.adapter_id:
        raise NotReadyError(f"The champion has changed since the last evaluation: run {command} again.")
    decision = decide(report, settings)
    with writing(engine) as connection:
        latest = _latest(connection, GATE, adapter.adapter_id)
        checks = [check.model_dump(mode="json") for check in decision.checks]
        if latest is None or latest.evaluation_id != decision.evaluation_id or latest.checks != checks:
            connection.execute(
                insert(GATE).values(
                    id=content_hash([decision.content, latest.id if latest else None]),
                    evaluation_id=decision.evaluation_id,
                    adapter_id=decision.adapter_id,
                    passed=decision.passed,
                    checks=checks,
                    created_at=now(),
                )
            )
    return decision


class AdapterReport(Value):
    """One adapter with everything known of it."""

    adapter: RegisteredAdapter
    training: TrainReport
    evaluation: EvaluationReport | None
    gate_passed: bool | None
    """The latest decision; None before the first."""
    failed_checks: tuple[str, ...]

    def text(self) -> str:
        """Training, evaluation and gate in turn."""
        parts = [f"Adapter {self.adapter.adapter_id}: {self.adapter.state}; its files are whole.", self.training.text()]
        parts.append(self.evaluation.text() if self.evaluation else "Not evaluated yet: run `factory eval`.")
        if self.gate_passed is None:
            parts.append("Not gated yet: run `factory gate`.")
        else:
            parts.append(
                "The gate passed it." if self.gate_passed else f"The gate refused it: {', '.join(self.failed_checks)}."
            )
        return "\n\n".join(parts)


def show(engine: Engine, adapter_id: str | None = None) -> AdapterReport:
    """One adapter (the newest by default), after verifying its files.

    Raises:
        NotReadyError: there is no adapter yet, or its folder is gone.
        InputError: the id names none or several, or the files are not those that were trained.
    """
    adapter = find_adapter(engine, adapter_id)
    training = verify(Path(adapter.path), adapter.sha256)
    with engine.connect() as connection:
        evaluation = _latest(connection, EVALUATION, adapter.adapter_id)
        gate = _latest(connection, GATE, adapter.adapter_id)
    return AdapterReport(
        adapter=adapter,
        training=training.model_copy(update={"reused": True}),
        evaluation=EvaluationReport.model_validate(evaluation.report) if evaluation else None,
        gate_passed=gate.passed if gate else None,
        failed_checks=tuple(check["name"] for check in gate.checks if not check["passed"]) if gate else (),
    )


def _latest(connection: Connection, table: Any, adapter_id: str) -> Any:
    """The newest row of one adapter in the evaluations or the gate's decisions; None before the first."""
    return connection.execute(
        select(table).where(table.c.adapter_id == adapter_id).order_by(table.c.created_at.desc(), table.c.id).limit(1)
    ).first()


def _dataset(engine: Engine, dataset_id: str | None) -> Any:
    with engine.connect() as connection:
        rows = connection.execute(select(DATASET).order_by(DATASET.c.created_at.desc(), DATASET.c.id)).all()
        forgotten = tainted(connection)
    chosen = newest_or_named(
        rows,
        dataset_id,
        id_of=lambda row: str(row.id),
        what="dataset",
        make="factory dataset build",
        listing="factory dataset list",
    )
    if chosen.id in forgotten:
        raise NotReadyError(
            f"Rows of dataset {chosen.id} were forgotten since it was built ({forgotten[chosen.id].text()}): "
            "run `factory dataset build`, and train on the new one."
        )
    return chosen
