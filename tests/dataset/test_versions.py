"""Dataset versions: loadable by `datasets`, verifiable, comparable, listed as a frame."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from factory.dataset.folder import FEATURES, read_examples, read_manifest
from factory.dataset.settings import DatasetSettings
from factory.dataset.versions import datasets_frame, difference, verify, version, versions
from logs_schema.errors import InputError, NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.records import Message
from logs_schema.taxonomy import ExampleKind, Split
from tests.dataset.world import START, World, asked, ideal, passage


def test_the_datasets_library_loads_every_split(world: World, tmp_path: Path) -> None:
    import datasets

    world.fill(range(30), abstentions=12, audit=3)
    talk = (Message(role="user", content="Hello?"), Message(role="assistant", content="Hello."))
    context = passage(40).model_copy(update={"groups": ("all", "staff"), "title": "T", "url": "u"})
    world.review(asked(7000, 40, [], contexts=(context, passage(1)), history=talk), "answer", ideal(40), audit=True)
    report = world.build(general=lambda count: [(f"Say {n}.", f"{n}") for n in range(count)], general_share=0.1)
    loaded = datasets.load_dataset(report.path, cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation", "test"}
    for split in Split:
        rows = read_examples(Path(report.path), split)
        assert len(loaded[split.value]) == len(rows)
        for row, expected in zip(loaded[split.value], rows, strict=True):
            assert TrainingExample.model_validate(row) == expected
    assert {row["groups"][0] for rows in loaded["test"]["contexts"] for row in rows if row["groups"]} == {"all"}


def test_a_split_without_rows_does_not_keep_the_others_from_loading(world: World, tmp_path: Path) -> None:
    import datasets

    world.fill(range(20), abstentions=8, audit=3)
    report = world.build(validation_share=0.0)
    assert (Path(report.path) / "validation.jsonl").read_bytes() == b""
    assert set(datasets.load_dataset(report.path, cache_dir=str(tmp_path / "cache"))) == {"train", "test"}


def test_the_card_declares_every_field_of_an_example() -> None:
    declared = [
        line.split("name: ")[1].split(",")[0].rstrip("}") for line in FEATURES.splitlines()[1:] if "  - " in line
    ]
    nested = {"role", "content", "text", "doc_id", "title", "url", "version", "updated_at", "groups", "score"}
    assert [name for name in declared if name not in nested] == list(TrainingExample.model_fields)


def test_a_changed_file_is_found(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    report = world.build()
    assert verify(world.engine).rows == {split: sum(kinds.values()) for split, kinds in report.counts.items()}
    folder = Path(report.path)
    (folder / "test.jsonl").write_text("{}\n")
    (folder / "README.md").unlink()
    with pytest.raises(InputError) as caught:
        verify(world.engine, report.dataset_id[:6])
    assert "test.jsonl: changed" in str(caught.value)
    assert "README.md: missing" in str(caught.value)


def test_a_forged_manifest_is_found(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    folder = Path(world.build().path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["seed"] = 99
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not give the id"):
        verify(world.engine)
    (folder / "manifest.json").write_text("not json")
    with pytest.raises(InputError, match="not a readable dataset manifest"):
        verify(world.engine)


def test_a_broken_line_is_named(world: World) -> None:
    world.fill(range(20), abstentions=8, audit=3)
    file = Path(world.build().path) / "train.jsonl"
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(InputError, match=rf"line {file.read_text().count(chr(10))} is not"):
        read_examples(file.parent, Split.train)
    with pytest.raises(InputError, match="cannot be read"):
        read_examples(file.parent / "elsewhere", Split.train)


def test_versions_are_listed_found_and_compared(world: World) -> None:
    with pytest.raises(NotReadyError, match="factory dataset build"):
        version(world.engine)
    assert "No datasets yet" in versions(world.engine).text()
    assert datasets_frame(world.engine).empty
    world.fill(range(20), abstentions=8, audit=3)
    first = world.build()
    asked_before = set(world.queue)
    world.fill(range(30, 36))
    asked_now = set(world.queue)
    second = world.build(distractors=1)
    listed = versions(world.engine)
    assert {each.dataset_id for each in listed.versions} == {first.dataset_id, second.dataset_id}
    assert first.dataset_id in listed.text()
    assert version(world.engine, first.dataset_id[:8]).manifest == read_manifest(Path(first.path))
    assert "distractors = 2" in version(world.engine, first.dataset_id).text()
    for wrong in ("", "zzzz"):
        with pytest.raises(InputError, match="factory dataset list"):
            version(world.engine, wrong)
    changed = difference(world.engine, first.dataset_id, second.dataset_id)
    assert changed.settings == {"distractors": (2, 1)}
    # The six new ones, and abstentions that six more answers leave room for.
    assert asked_now - asked_before <= set(changed.added_records)
    assert changed.removed_records == ()
    assert "distractors: 2 → 1" in changed.text()
    frame = datasets_frame(world.engine)
    assert list(frame["dataset_id"]) == [each.dataset_id for each in listed.versions]
    assert set(frame["train_answer"]) == {first.counts["train"]["answer"], second.counts["train"]["answer"]}


def test_with_many_answers_every_question_is_used_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    few = 60
    monkeypatch.setattr("factory.dataset.compose.FEW_ANSWERS", few)
    for number in range(few * 2):
        thing = number % 40
        context = passage(thing).model_copy(
            update={"doc_id": f"doc-{number}", "text": f"{passage(thing).text} {number}"}
        )
        shown = (context, passage((thing + 3) % 48), passage((thing + 5) % 48))
        query = f"Item {number} {number}x, {number}y: weight?"
        world.review(asked(number, thing, [], contexts=shown, query=query), "answer", ideal(thing))
    world.fill(range(40, 44), abstentions=60, audit=2)
    report = world.build()
    rows = read_examples(Path(report.path), Split.train)
    taught = {row.record_id for row in rows if row.kind is ExampleKind.answer}
    removed = {row.record_id for row in rows if row.kind is ExampleKind.evidence_removed}
    assert len(taught) > few / 2
    assert removed
    assert not taught & removed
    assert report.given_up == len(removed)
    only_removed = world.build(unanswerable_share=0.5, evidence_removed_share=1.0).counts["train"]
    assert 0 < only_removed["evidence_removed"] <= only_removed["answer"]


def test_a_question_keeps_its_twin_while_rows_are_few(world: World) -> None:
    world.fill(range(30), abstentions=12, audit=3)
    rows = read_examples(Path(world.build().path), Split.train)
    taught = {row.record_id for row in rows if row.kind is ExampleKind.answer}
    assert {row.record_id for row in rows if row.kind is ExampleKind.evidence_removed} <= taught


def test_shares_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="unanswerable_share"):
        DatasetSettings(unanswerable_share=0.6, general_share=0.4)
    with pytest.raises(ValueError, match="test_share"):
        DatasetSettings(test_share=0.6, validation_share=0.4)


def test_a_review_that_goes_stale_leaves_but_its_side_stays(world: World) -> None:
    world.fill(range(30), abstentions=8, audit=3)
    before = world.build()
    expected: dict[str, Split] = {}
    gone = set()
    for at, side in enumerate(Split):
        rows = [row for row in read_examples(Path(before.path), side) if not row.audit]
        row = next(row for row in rows if row.kind is ExampleKind.answer)
        gone.add(row.record_id)
        changed = {"version": "2", "updated_at": START + timedelta(days=5), "text": f"Now it is {5000 + at} grams."}
        newer = row.contexts[row.evidence_ranks[0]].model_copy(update=changed)
        related = asked(7000 + at, 41, [], contexts=(newer,), query=f"And {at} now?")
        expected[world.review(related, "answer", f"Now it is {5000 + at} grams.")] = side
    built = world.build()
    rows = {row.record_id: row for split in Split for row in read_examples(Path(built.path), split)}
    assert not gone & set(rows)
    assert {record_id: rows[record_id].split for record_id in expected} == expected
