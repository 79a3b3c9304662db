"""Reading a dataset folder, after proving that it is what its manifest says."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from logs_schema.errors import InputError, NotReadyError
from logs_schema.examples import DatasetManifest, TrainingExample
from logs_schema.taxonomy import Split
from training.base_model import file_hash


def read_manifest(folder: Path) -> DatasetManifest:
    """The manifest of a dataset folder whose files are as the manifest says.

    Raises:
        NotReadyError: there is no dataset in the folder.
        InputError: the manifest or a file is damaged.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise NotReadyError(f"{folder} holds no dataset (no manifest.json): run `factory dataset build` first.")
    try:
        manifest = DatasetManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path} is not a dataset manifest: build the dataset again.") from error
    for name, digest in sorted(manifest.files.items()):
        if Path(name).name != name or not (folder / name).is_file() or file_hash(folder / name) != digest:
            raise InputError(f"{folder / name} is missing or not what the manifest says: build the dataset again.")
    return manifest


def read_split(folder: Path, split: Split) -> tuple[TrainingExample, ...]:
    """The rows of one split, in file order; none when the dataset has no such file.

    Raises:
        InputError: a line is not an example, or belongs to another split.
    """
    path = folder / f"{split}.jsonl"
    return tuple(_lines(path, split)) if path.is_file() else ()


def _lines(path: Path, split: Split) -> Iterator[TrainingExample]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                example = TrainingExample.model_validate_json(line)
            except ValidationError as error:
                raise InputError(f"{path}:{number} is not a training example: build the dataset again.") from error
            if example.split is not split:
                raise InputError(f"{path}:{number} belongs to {example.split}: build the dataset again.")
            yield example
