"""Lineage both ways, and the commands that print it."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from factory.cli.app import app
from factory.dataset.folder import read_examples
from factory.lineage import Node, trace
from logs_schema.errors import InputError
from logs_schema.tables import Adapter, Evaluation, FindingRow, GateDecision, Promotion
from logs_schema.taxonomy import ExampleKind, Split
from tests.dataset.world import START, World

ADAPTER = "ad" * 8


def _nodes(root: Node, kind: str) -> list[Node]:
    found = [root] if root.kind == kind else []
    return found + [node for child in root.children for node in _nodes(child, kind)]


def _trained(world: World) -> tuple[str, str]:
    """A dataset with an adapter that passed the gate and was promoted; dataset id and a trained record's id."""
    world.fill(range(30), each=2, abstentions=12, audit=3)
    report = world.build(general=lambda count: [(f"Say {n}.", f"{n}") for n in range(count)], general_share=0.1)
    row = next(row for row in read_examples(Path(report.path), Split.train) if row.kind is ExampleKind.answer)
    made = {"created_at": START}
    finding = {
        "interaction_id": row.record_id,
        "miner_version": "1",
        "record_hash": "0",
        "failure": "unfaithful",
        "secondary": [],
        "route": "behaviour",
        "confidence": 0.9,
        "scores": {},
        "evidence": [],
        "why": "It says 9999 grams.",
        "mined_at": START,
    }
    adapter = {
        "id": ADAPTER,
        "dataset_id": report.dataset_id,
        "base_model": "tiny",
        "path": "a",
        "sha256": "0",
        "seed": 1,
    }
    evaluation = {"id": "ev", "adapter_id": ADAPTER, "dataset_id": report.dataset_id, "path": "e", "report": {}}
    gate = {"id": "ga", "evaluation_id": "ev", "adapter_id": ADAPTER, "passed": True, "checks": []}
    promotion = {"action": "promote", "adapter_id": ADAPTER, "gate_id": "ga", "by": "lea"}
    with world.engine.begin() as connection:
        for table, values in (
            (FindingRow, finding),
            (Adapter, adapter | made | {"config": {}}),
            (Evaluation, evaluation | made),
            (GateDecision, gate | made),
            (Promotion, promotion | made),
        ):
            connection.execute(insert(table.__table__).values(values))  # type: ignore[attr-defined]
    assert row.record_id
    return report.dataset_id, row.record_id


def test_a_trace_leads_to_the_adapter_that_it_taught(world: World) -> None:
    dataset_id, record_id = _trained(world)
    found = trace(world.engine, record_id)
    assert [node.id for node in _nodes(found.root, "finding")] == ["unfaithful"]
    assert len(_nodes(found.root, "queue")) == len(_nodes(found.root, "review")) == 1
    assert {node.id for node in _nodes(found.root, "dataset")} == {dataset_id}
    (adapter, *_) = _nodes(found.root, "adapter")
    assert adapter.id == ADAPTER
    assert adapter.note.startswith("taught, on tiny")
    assert [child.kind for child in adapter.children] == ["gate", "promotion"]
    assert "promote, by lea" in found.text()
    review, example = _nodes(found.root, "review")[0].id, _nodes(found.root, "example")[0].id
    source_id = found.root.note.split()[1].rstrip(",")
    for other in (review, example, source_id, record_id[:8]):
        assert trace(world.engine, other).root == found.root


def test_an_adapter_leads_back_to_rows_reviewers_and_traces(world: World) -> None:
    dataset_id, record_id = _trained(world)
    found = trace(world.engine, ADAPTER)
    (dataset,) = _nodes(found.root, "dataset")
    rows = _nodes(dataset, "rows")
    assert dataset.id == dataset_id
    assert dataset.rows == sum(node.rows or 0 for node in rows) == len(_nodes(dataset, "example"))
    assert [(node.id, node.rows) for node in _nodes(dataset, "reviewer")] == [
        ("ann", sum(1 for node in _nodes(dataset, "record")))
    ]
    assert record_id in {node.id for node in _nodes(dataset, "record")}
    assert "more (--json lists them all)" in found.text()
    assert trace(world.engine, dataset_id).root == dataset


def test_a_general_row_leads_to_its_datasets(world: World) -> None:
    dataset_id, _ = _trained(world)
    general = next(node for node in _nodes(trace(world.engine, dataset_id).root, "rows") if "general" in node.id)
    found = trace(world.engine, general.children[0].id)
    assert found.root.kind == "example"
    assert [node.id for node in _nodes(found.root, "dataset")] == [dataset_id]


def test_an_unknown_id_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="whole id"):
        trace(world.engine, "nothing-like-it")


def test_the_commands(world: World, store_url: str, tmp_path: Path) -> None:
    config = tmp_path / "factory.toml"
    config.write_text(f'[store]\nurl = "{store_url}"\n[dataset]\nmin_rows = 10\ngeneral_share = 0.0\n')
    runner = CliRunner()

    def run(*arguments: str, code: int = 0) -> str:
        result = runner.invoke(app, ["--config", str(config), *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "factory label pull" in run("dataset", "build", code=4)
    assert "No datasets yet" in run("dataset", "list")
    assert "factory dataset build" in run("dataset", "show", code=4)
    world.fill(range(30), abstentions=12, audit=3)
    world.save()
    built = json.loads(run("dataset", "build", "--json"))
    dataset_id = built["dataset_id"]
    assert Path(built["path"]) == tmp_path / "datasets" / dataset_id
    assert "was there already" in run("dataset", "build")
    assert dataset_id in run("dataset", "list")
    assert json.loads(run("dataset", "show", "--json"))["manifest"]["counts"] == built["counts"]
    assert "is whole" in run("dataset", "verify", dataset_id[:8])
    assert "train: 0 rows added, 0 removed" in run("dataset", "diff", dataset_id)
    assert "dataset " + dataset_id in run("trace", dataset_id)
    assert json.loads(run("trace", "trace-0", "--json"))["root"]["kind"] == "record"
    assert "whole id" in run("trace", "nobody", code=3)
    (Path(built["path"]) / "train.jsonl").write_text("")
    assert "train.jsonl: changed" in run("dataset", "verify", code=3)
