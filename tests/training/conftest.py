"""Small datasets, a tiny base model, and a store, for the tests of training."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from logs_schema.examples import DatasetManifest, TrainingExample
from logs_schema.records import Context, Message, PromptTemplate, content_hash
from logs_schema.taxonomy import ExampleKind, Split

ABSTENTION = "I don't know based on the provided context."
TEMPLATE = PromptTemplate(system="Answer from the passages only and cite them like [1].")
FACTS = [
    ("When does the pool open?", "The pool opens at seven in the morning.", "At seven in the morning [{n}]."),
    ("What does a locker cost?", "A locker costs two euros per visit.", "Two euros per visit [{n}]."),
    ("Where is the first aid room?", "The first aid room is behind the reception.", "Behind the reception [{n}]."),
    ("Who teaches diving?", "Diving is taught by Maria Stone on Fridays.", "Maria Stone [{n}]."),
    ("How deep is the basin?", "The large basin is three metres deep.", "Three metres deep [{n}]."),
    ("Are dogs allowed?", "Dogs are not allowed anywhere in the building.", "No, dogs are not allowed [{n}]."),
]


def example(number: int, kind: ExampleKind, split: Split, *, audit: bool = False) -> TrainingExample:
    """One row; every sixth asks the same question in other surroundings."""
    query, passage, answer = FACTS[number % len(FACTS)]
    others = [FACTS[(number + shift) % len(FACTS)][1] for shift in (1, 2)]
    if kind is ExampleKind.general:
        prompt: tuple[Message, ...] = (Message(role="user", content=f"Say the number {number}."),)
        return TrainingExample(
            example_id=content_hash([number, kind, split]),
            kind=kind,
            split=split,
            prompt=prompt,
            completion=f"{number}.",
            query=prompt[0].content,
            group=f"general-{number}",
        )
    rank = number % 3
    texts = list(others)
    if kind is ExampleKind.answer:
        texts.insert(rank, passage)
    contexts = tuple(Context(text=f"{text} This is passage text number {number}.") for text in texts)
    answerable = kind is ExampleKind.answer
    return TrainingExample(
        example_id=content_hash([number, kind, split]),
        kind=kind,
        split=split,
        prompt=TEMPLATE.render(f"{query} ({number})", contexts),
        completion=answer.replace("{n}", str(rank + 1)) if answerable else ABSTENTION,
        query=query,
        contexts=contexts,
        evidence_ranks=(rank,) if answerable else (),
        answerable=answerable,
        production_response="I cannot say." if number % 2 else None,
        group=f"{split}-{number}",
        audit=audit,
    )


def rows(split: Split, answers: int, abstentions: int, general: int = 0, audit: int = 0) -> list[TrainingExample]:
    kinds = [ExampleKind.answer] * answers + [ExampleKind.abstain] * abstentions + [ExampleKind.general] * general
    return [example(at, kind, split, audit=at < audit) for at, kind in enumerate(kinds)]


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dataset folder as the builder does, and gives its path."""

    def write(
        train: Sequence[TrainingExample] = (),
        validation: Sequence[TrainingExample] = (),
        test: Sequence[TrainingExample] = (),
        name: str = "dataset",
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        files: dict[str, str] = {}
        counts: dict[str, dict[str, int]] = {}
        for split, examples in zip(Split, (train, validation, test), strict=True):
            data = "".join(each.model_dump_json() + "\n" for each in examples).encode()
            (folder / f"{split}.jsonl").write_bytes(data)
            files[f"{split}.jsonl"] = hashlib.sha256(data).hexdigest()
            counts[split.value] = {}
            for each in examples:
                counts[split.value][each.kind.value] = counts[split.value].get(each.kind.value, 0) + 1
        manifest = DatasetManifest(
            dataset_id=content_hash(files),
            created_at=datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
            seed=7,
            settings={},
            abstention=ABSTENTION,
            guidelines_version="1",
            prompt_hashes=(TEMPLATE.hash,),
            counts=counts,
            files=files,
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def make_rows() -> Callable[..., list[TrainingExample]]:
    return rows


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    from logs_schema.store import open_store

    return open_store(f"sqlite:///{tmp_path / 'store.db'}")


@pytest.fixture
def register_dataset(engine: Engine) -> Callable[[Path], str]:
    """Enters a dataset folder into the store, and gives its id."""

    def register(folder: Path) -> str:
        from logs_schema.tables import DatasetVersion

        manifest = DatasetManifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
        with engine.begin() as connection:
            connection.execute(
                insert(DatasetVersion.__table__).values(
                    id=manifest.dataset_id,
                    path=str(folder),
                    manifest=manifest.model_dump(mode="json"),
                    created_at=datetime.fromisoformat(manifest.created_at),
                )
            )
        return manifest.dataset_id

    return register
