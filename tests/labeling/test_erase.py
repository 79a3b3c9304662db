"""Forgotten records leave a real Argilla, with what curators wrote, and the bytes of its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from labeling import client as argilla
from labeling.erase import erase
from labeling.push import push
from labeling.server.serve import DATABASE
from labeling.settings import LabelingSettings
from logs_schema.errors import NotReadyError
from logs_schema.records import RagRecord
from logs_schema.settings import HouseSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:pydantic.warnings.PydanticDeprecatedSince20"),
]


def test_records_are_erased(
    engine: Engine,
    labeling: LabelingSettings,
    house: HouseSettings,
    make_record: Callable[..., RagRecord],
    queue_up: Callable[..., None],
) -> None:
    records = [make_record(n, query=f"unmistakable-{n} question?") for n in range(3)]
    queue_up(engine, *records)
    push(engine, labeling, house)
    target, ids = argilla.target(labeling), [record.record_id for record in records]
    database = Path(labeling.home) / DATABASE

    def bytes_of(number: int) -> list[str]:
        files: list[Any] = list(database.parent.glob(f"{DATABASE}*"))
        return [file.name for file in files if f"unmistakable-{number} ".encode() in file.read_bytes()]

    assert bytes_of(0) and bytes_of(2)
    assert erase(labeling, target, ids[:2]) == 2
    assert erase(labeling, target, ids[:2]) == 0
    assert not bytes_of(0) and not bytes_of(1) and bytes_of(2)
    with argilla.session(labeling) as client:
        dataset = argilla.find_dataset(client, labeling)
        assert dataset and set(argilla.records_by_id(client, str(dataset["id"]), ids)) == {ids[2]}
    with pytest.raises(NotReadyError, match="they are in elsewhere"):
        erase(labeling, "elsewhere", ids)
    unknown = labeling.model_copy(update={"dataset": "never pushed"})
    assert erase(unknown, argilla.target(unknown), ids) == 0
