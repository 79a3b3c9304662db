"""Promotions: only what passed the gate, only what was trained, never rewritten."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.records import content_hash
from logs_schema.tables import now
from training.adapter import TrainReport, read_report
from training.base_model import file_hash
from training.registry import (
    EVALUATION,
    GATE,
    PROMOTION,
    adapters,
    approve,
    champion,
    find_adapter,
    register_adapter,
    rollback,
)

Make = Callable[[str], TrainReport]


@pytest.fixture
def make_adapter(
    tmp_path: Path,
    engine: Engine,
    write_dataset: Callable[..., Path],
    make_rows: Callable[..., list[TrainingExample]],
    register_dataset: Callable[[Path], str],
) -> Make:
    """Registers an adapter whose weights are a few bytes: the registry only ever hashes them."""
    dataset_id = register_dataset(write_dataset(train=make_rows("train", 2, 1)))

    def make(name: str) -> TrainReport:
        folder = tmp_path / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(name.encode())
        report = TrainReport(
            adapter_id=name,
            dataset_id=dataset_id,
            base_model="base",
            base_revision=None,
            base_sha256="0",
            path=str(folder),
            sha256=file_hash(folder / "adapter_model.safetensors"),
            recipe={"seed": 17},
            dataset_files={},
            rows={"answer": 2, "abstain": 1},
            validation_rows=0,
            shortened=0,
            refused=(),
            tokens=10,
            trainable=5,
            steps=1,
            resumed_from=None,
            seconds=1.0,
            device="cpu float32",
            losses=((1, 1.0),),
            validation_losses=(),
        )
        (folder / "training.json").write_text(report.model_dump_json(), encoding="utf-8")
        register_adapter(engine, report)
        return report

    return make


def gated(engine: Engine, adapter: TrainReport, champion_id: str | None, passed: bool = True) -> None:
    with engine.begin() as connection:
        number = connection.scalar(select(func.count()).select_from(GATE))
        evaluation = content_hash([adapter.adapter_id, champion_id, number])
        connection.execute(
            insert(EVALUATION).values(
                id=evaluation,
                adapter_id=adapter.adapter_id,
                champion_id=champion_id,
                dataset_id=adapter.dataset_id,
                path="p",
                report={},
                created_at=now(),
            )
        )
        connection.execute(
            insert(GATE).values(
                id=f"gate-{number}",
                evaluation_id=evaluation,
                adapter_id=adapter.adapter_id,
                passed=passed,
                checks=[],
                created_at=now(),
            )
        )


def running(engine: Engine) -> str | None:
    current = champion(engine)
    return current.adapter_id if current else None


def promotions(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(PROMOTION)) or 0


def test_promote_and_roll_back_to_the_base(engine: Engine, make_adapter: Make):
    first, second = make_adapter("first"), make_adapter("second")
    gated(engine, first, None)
    assert approve(engine, "fir", by="Ada", note="better").previous_id is None
    gated(engine, second, "first")
    approve(engine, "second", by="Ada")
    assert running(engine) == "second"
    assert rollback(engine, by="Bob").adapter_id == "first"
    assert running(engine) == "first"
    assert rollback(engine, by="Bob").adapter_id is None
    assert champion(engine) is None
    with pytest.raises(NotReadyError, match="no promotion to take back"):
        rollback(engine, by="Bob")
    assert promotions(engine) == 4, "the log only grows"


def test_promoting_the_champion_again_changes_nothing(engine: Engine, make_adapter: Make):
    first = make_adapter("first")
    gated(engine, first, None)
    approve(engine, "first", by="Ada")
    again = approve(engine, "first", by="Ada")
    assert not again.changed and "nothing was changed" in again.text()
    assert promotions(engine) == 1


def test_only_what_passed_the_latest_gate_is_promoted(engine: Engine, make_adapter: Make):
    first, second = make_adapter("first"), make_adapter("second")
    with pytest.raises(NotReadyError, match="factory gate --adapter first"):
        approve(engine, "first", by="Ada")
    gated(engine, first, None)
    gated(engine, first, None, passed=False)
    with pytest.raises(NotReadyError, match="refused"):
        approve(engine, "first", by="Ada")
    gated(engine, first, None)
    gated(engine, second, None)
    approve(engine, "first", by="Ada")
    with pytest.raises(NotReadyError, match="champion has changed"):
        approve(engine, "second", by="Ada")
    assert running(engine) == "first"


def test_somebody_must_decide(engine: Engine, make_adapter: Make):
    gated(engine, make_adapter("first"), None)
    with pytest.raises(ConfigurationError, match="--by"):
        approve(engine, "first", by="  ")


@pytest.mark.parametrize("damage", ["weights", "report", "pickle", "gone"])
def test_files_are_verified_before_promotion(engine: Engine, make_adapter: Make, damage: str):
    first = make_adapter("first")
    gated(engine, first, None)
    folder = Path(first.path)
    if damage == "weights":
        (folder / "adapter_model.safetensors").write_bytes(b"other")
    elif damage == "report":  # weights and their report were both exchanged
        (folder / "adapter_model.safetensors").write_bytes(b"other")
        changed = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        changed["sha256"] = file_hash(folder / "adapter_model.safetensors")
        (folder / "training.json").write_text(json.dumps(changed), encoding="utf-8")
        assert read_report(folder) is not None
    elif damage == "pickle":
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    else:
        folder.rename(folder.with_name("elsewhere"))
    with pytest.raises((InputError, NotReadyError)):
        approve(engine, "first", by="Ada")
    assert promotions(engine) == 0


def test_rollback_verifies_the_former_champion(engine: Engine, make_adapter: Make):
    first, second = make_adapter("first"), make_adapter("second")
    gated(engine, first, None)
    approve(engine, "first", by="Ada")
    gated(engine, second, "first")
    approve(engine, "second", by="Ada")
    (Path(first.path) / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError):
        rollback(engine, by="Bob")
    assert running(engine) == "second"


def test_other_weights_under_a_known_id_are_refused(engine: Engine, make_adapter: Make):
    report = make_adapter("first")
    register_adapter(engine, report)
    with pytest.raises(InputError, match="other weights"):
        register_adapter(engine, report.model_copy(update={"sha256": "1"}))


def test_listing(engine: Engine, make_adapter: Make):
    assert next(iter(adapters(engine).columns)) == "adapter_id"
    first, second, third = make_adapter("first"), make_adapter("second"), make_adapter("third")
    gated(engine, first, None)
    approve(engine, "first", by="Ada")
    gated(engine, second, "first", passed=False)
    states = adapters(engine).set_index("adapter_id")["state"].to_dict()
    assert states == {"first": "champion", "second": "gate refused", "third": "trained"}
    assert find_adapter(engine).adapter_id == third.adapter_id
    with pytest.raises(InputError, match="names no adapter"):
        find_adapter(engine, "zzz")
