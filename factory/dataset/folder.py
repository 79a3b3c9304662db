"""A dataset version on disk: three JSON Lines files, a manifest, and a card that `datasets` understands.

JSON Lines and nothing else: it is read by every tool and by eye, diffs line by line, and gives
the same bytes with every library version, which a content hash needs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from factory.dataset.settings import DatasetSettings
from logs_schema.errors import InputError
from logs_schema.examples import DatasetManifest, TrainingExample
from logs_schema.files import folder_atomic
from logs_schema.records import content_hash
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import Split
from logs_schema.wording import counted

MANIFEST = "manifest.json"
REMEDY = "Build the dataset again with `factory dataset build`."
CARD = "README.md"
LINE_SEPARATORS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
"""JSON allows them as they are, but many readers of lines take them for line ends."""

FEATURES = """\
  features:
  - {name: example_id, dtype: string}
  - {name: kind, dtype: string}
  - {name: split, dtype: string}
  - name: prompt
    list:
    - {name: role, dtype: string}
    - {name: content, dtype: string}
  - {name: completion, dtype: string}
  - {name: query, dtype: string}
  - name: contexts
    list:
    - {name: text, dtype: string}
    - {name: doc_id, dtype: string}
    - {name: title, dtype: string}
    - {name: url, dtype: string}
    - {name: version, dtype: string}
    - {name: updated_at, dtype: string}
    - {name: groups, list: string}
    - {name: score, dtype: float64}
  - {name: evidence_ranks, list: int64}
  - {name: answerable, dtype: bool}
  - {name: production_response, dtype: string}
  - {name: record_id, dtype: string}
  - {name: review_id, dtype: string}
  - {name: audit, dtype: bool}
  - {name: group, dtype: string}
  - {name: draft_source, dtype: string}
  - {name: draft_similarity, dtype: float64}
  - {name: failure, dtype: string}
"""


def write_folder(
    root: Path,
    examples: Iterable[TrainingExample],
    *,
    settings: DatasetSettings,
    house: HouseSettings,
    prompt_hashes: Sequence[str],
    held_back: Mapping[str, int],
    created_at: str,
) -> tuple[Path, DatasetManifest, bool]:
    """Write `root/<dataset id>`, whole or not at all.

    Returns:
        The folder, its manifest, and whether the same version had been there already, whole.
    """
    rows = sorted(examples, key=lambda example: (example.example_id, example.record_id or ""))
    counts = {
        split.value: dict(sorted(Counter(row.kind.value for row in rows if row.split is split).items()))
        for split in Split
    }
    content = {f"{split.value}.jsonl": _lines(row for row in rows if row.split is split) for split in Split}
    content[CARD] = _card(counts).encode()
    described = {
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json", exclude={"folder"}),
        "abstention": house.abstention,
        "guidelines_version": house.guidelines_version,
        "prompt_hashes": list(prompt_hashes),
        "counts": counts,
        "held_back": dict(sorted(held_back.items())),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())},
    }
    manifest = DatasetManifest.model_validate(
        {"dataset_id": content_hash(described), "created_at": created_at, **described}
    )
    folder = root / manifest.dataset_id
    if (folder / MANIFEST).is_file() and not problems(folder):
        return folder, read_manifest(folder), True
    with folder_atomic(folder) as partial:
        for name, data in content.items():
            (partial / name).write_bytes(data)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder, manifest, False


def read_manifest(folder: Path) -> DatasetManifest:
    """The manifest of a dataset folder.

    Raises:
        InputError: there is none, or it is not readable.
    """
    file = folder / MANIFEST
    try:
        return DatasetManifest.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else counted(error.error_count(), "mistake")
        raise InputError(f"{file} is not a readable dataset manifest ({reason}). {REMEDY}") from error


def read_examples(folder: Path, split: Split) -> list[TrainingExample]:
    """The rows of one split, in file order.

    Raises:
        InputError: the file is missing or a line is not an example.
    """
    file = folder / f"{split.value}.jsonl"
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}. {REMEDY}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(TrainingExample.model_validate_json(line))
        except ValidationError as error:
            raise InputError(f"{file}, line {number} is not a training example. {REMEDY}") from error
    return rows


def problems(folder: Path) -> list[str]:
    """What is wrong with a dataset folder, compared with its manifest; empty when nothing is."""
    manifest = read_manifest(folder)
    described = manifest.model_dump(mode="json", exclude={"dataset_id", "created_at"})
    found = []
    if content_hash(described) != manifest.dataset_id:
        found.append(f"{MANIFEST}: its content does not give the id {manifest.dataset_id}")
    if folder.name != manifest.dataset_id:
        found.append(f"{MANIFEST}: it names {manifest.dataset_id}, the folder is {folder.name}")
    known = {CARD, *(f"{split.value}.jsonl" for split in Split)}
    found += [f"{MANIFEST}: it does not list {name}" for name in sorted(known - set(manifest.files))]
    for name in sorted(known & set(manifest.files)):
        file = folder / name
        if not file.is_file():
            found.append(f"{name}: missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != manifest.files[name]:
            found.append(f"{name}: changed since it was built")
    return found


def _lines(rows: Iterable[TrainingExample]) -> bytes:
    lines = (json.dumps(row.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")) for row in rows)
    return "".join(line.translate(LINE_SEPARATORS) + "\n" for line in lines).encode()


def _card(counts: Mapping[str, Mapping[str, int]]) -> str:
    kinds = sorted({kind for by_kind in counts.values() for kind in by_kind})
    header = f"| split | {' | '.join(kinds)} | rows |\n|---|{'---:|' * (len(kinds) + 1)}\n"
    table = "".join(
        f"| {split} | {' | '.join(str(by_kind.get(kind, 0)) for kind in kinds)} | {sum(by_kind.values())} |\n"
        for split, by_kind in counts.items()
    )
    files = "".join(
        f"  - {{split: {split}, path: {split}.jsonl}}\n" for split, by_kind in counts.items() if sum(by_kind.values())
    )
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}dataset_info:\n{FEATURES}---\n\n"
        "# RAG fine-tuning dataset\n\n"
        "Questions with the passages that production retrieved, and the answer that a curator gave or approved.\n"
        "Load it with `datasets.load_dataset(FOLDER)`; `prompt` is a list of messages, `completion` what to answer.\n\n"
        f"{header}{table}\n"
        "* `answer`: the passages hold the answer; `evidence_ranks` (from 0) says where.\n"
        "* `abstain`: a curator said that they do not.\n"
        "* `evidence_removed`: an answerable question whose evidence was taken out.\n"
        "* `general`: a general prompt with the base model's own reply.\n\n"
        "Rows with the same `group` are near-duplicates or share an evidence document; no group is on two sides.\n"
        "Rows with `audit` come from a uniform sample of production and are only ever in `test`.\n"
        "`manifest.json` holds settings, counts, and a SHA-256 of every file.\n"
    )
