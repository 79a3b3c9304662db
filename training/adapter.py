"""The adapter folder: weights, what they were trained on, the prompt they expect, and a model card."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from logs_schema.errors import InputError, NotReadyError
from logs_schema.examples import DatasetManifest
from logs_schema.files import write_atomic
from logs_schema.records import PromptTemplate, Value
from logs_schema.wording import counted
from training.base_model import file_hash

WEIGHTS = "adapter_model.safetensors"
REPORT = "training.json"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
"""Formats that run code when they are loaded; an adapter folder that holds one is refused."""


class TrainReport(Value):
    """What one training run did; `training.json` of the adapter folder."""

    adapter_id: str
    dataset_id: str
    base_model: str
    base_revision: str | None
    base_sha256: str
    path: str
    """Folder of the adapter; empty in the folder's own copy."""
    sha256: str
    """Of the adapter's weights file."""
    recipe: dict[str, Any]
    dataset_files: dict[str, str]
    """File name → SHA-256 of the data that it learned from."""
    rows: dict[str, int]
    """Kind → training rows learned from."""
    validation_rows: int
    shortened: int
    """Training rows whose passages were shortened to fit `max_length`."""
    refused: tuple[str, ...]
    """Ids of rows left out because they do not fit `max_length`."""
    tokens: int
    """Tokens of all training rows, once."""
    trainable: int
    """Adapter parameters."""
    steps: int
    resumed_from: int | None
    """Step of the checkpoint from which a killed run went on."""
    seconds: float
    """Wall time of the last, finishing run."""
    device: str
    losses: tuple[tuple[int, float], ...]
    """(step, training loss per answer token in nats, the first token weighted by `first_token_weight`)."""
    validation_losses: tuple[tuple[int, float], ...]
    """(step, loss per answer token on the validation rows in nats, unweighted)."""
    reused: bool = False

    @property
    def activated(self) -> bool:
        """Whether the adapter acts on answers only, and leaves prompts to the base model."""
        return self.recipe.get("method") == "activated"

    def text(self) -> str:
        """What was trained, on what, and how the loss went."""
        total = sum(self.rows.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.rows.items())
        lines = [
            f"Adapter {self.adapter_id} {'is there already' if self.reused else 'trained'}: {self.path}",
            f"  base {self.base_model}, data {self.dataset_id}: {counted(total, 'training row')} ({kinds}), "
            f"{self.validation_rows} for validation",
            f"  {counted(self.steps, 'step')} in {self.seconds:.0f} s on {self.device}"
            + (f" (went on from step {self.resumed_from})" if self.resumed_from else ""),
        ]
        if self.shortened or self.refused:
            lines.append(
                f"  to fit max_length, passages of {counted(self.shortened, 'row')} were shortened; "
                f"{counted(len(self.refused), 'row was', 'rows were')} left out"
                f"{': ' if self.refused else ''}{', '.join(self.refused[:10])}"
                + (" …" if len(self.refused) > 10 else "")
            )
        if self.losses:
            lines.append(
                f"  training loss {self.losses[0][1]:.3f} at step {self.losses[0][0]}, "
                f"{self.losses[-1][1]:.3f} at step {self.losses[-1][0]} (one batch each, first token weighted)"
            )
        if self.validation_losses:
            curve = ", ".join(f"{loss:.3f} at step {step}" for step, loss in self.validation_losses)
            lines.append(f"  validation loss {curve} ({counted(self.validation_rows, 'row')})")
        lines.append("Loss says that it learned, not that it is better: run `factory eval`.")
        return "\n".join(lines)


def write_adapter(
    folder: Path,
    model: Any,
    tokenizer: Any,
    report: TrainReport,
    manifest: DatasetManifest,
    templates: Sequence[PromptTemplate],
) -> TrainReport:
    """Save weights, report, loss curve, prompt and card into `folder`; the report with the weights' hash."""
    model.save_pretrained(folder, safe_serialization=True)
    report = report.model_copy(update={"sha256": file_hash(folder / WEIGHTS)})
    curve = {"loss": report.losses, "validation_loss": report.validation_losses}
    prompt = {
        "templates": [template.model_dump(mode="json") for template in templates],
        "template_hashes": manifest.prompt_hashes,
        "abstention": manifest.abstention,
        "chat_template": tokenizer.chat_template,
    }
    for name, value in (
        (REPORT, report.model_copy(update={"path": ""}).model_dump(mode="json")),
        ("loss.json", curve),
        ("prompt.json", prompt),
    ):
        write_atomic(folder / name, json.dumps(value, indent=1, ensure_ascii=False).encode())
    write_atomic(folder / "README.md", _card(report, manifest).encode())
    return report


def read_report(folder: Path) -> TrainReport | None:
    """The report of a whole adapter folder; None when there is none, or it is damaged and must be made again."""
    try:
        report = TrainReport.model_validate_json((folder / REPORT).read_bytes())
    except (OSError, ValidationError):
        return None
    weights = folder / WEIGHTS
    return report if weights.is_file() and file_hash(weights) == report.sha256 else None


def verify(folder: Path, sha256: str | None = None) -> TrainReport:
    """Prove that an adapter folder is whole, safe to load, and the one that was registered.

    Args:
        folder: the adapter's folder.
        sha256: of its weights, as registered; None checks against its own report only.

    Raises:
        NotReadyError: the folder is not there.
        InputError: the weights changed, or the folder holds a pickle.
    """
    if not folder.is_dir():
        raise NotReadyError(f"The adapter's folder {folder} is gone: bring it back, or train it again.")
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if pickles:
        raise InputError(
            f"{folder} holds {', '.join(pickles)}, which can run code when loaded: only .safetensors is accepted."
        )
    report = read_report(folder)
    if report is None or (sha256 is not None and report.sha256 != sha256):
        raise InputError(f"The weights in {folder} are not those that were trained: remove the folder and train again.")
    return report.model_copy(update={"path": str(folder)})


def _card(report: TrainReport, manifest: DatasetManifest) -> str:
    kinds = "\n".join(f"* {kind}: {count}" for kind, count in report.rows.items())
    recipe = "\n".join(f"* {name}: {value}" for name, value in report.recipe.items())
    losses = "\n".join(f"* step {step}: {loss:.4f}" for step, loss in report.validation_losses) or "* not measured"
    return f"""---
library_name: peft
base_model: {json.dumps(report.base_model)}
tags: [lora, rag]
---

# Adapter {report.adapter_id}

A LoRA adapter that teaches `{report.base_model}` to answer from retrieved passages, to cite them, to ignore
distractors, and to say "{manifest.abstention}" when the passages do not hold the answer.

## Data

Dataset `{report.dataset_id}`: {sum(report.rows.values())} training rows
({report.shortened} with shortened passages, {len(report.refused)} left out because they do not fit):

{kinds}

What `answer` and `abstain` rows teach was decided by reviewers in Argilla; `factory trace {report.adapter_id}` names
them. `evidence_removed` rows are answerable questions whose evidence was taken away; `general` rows are the base
model's own replies to general prompts.

The SHA-256 of every data file is in `training.json`.

## Not for

Answering without retrieved passages; teaching facts; passages, languages or prompts unlike those of the data; any
use in which nobody checks the cited passage. The weights have no access control: whoever may use the adapter may
learn what its training rows held.

## Prompt

`prompt.json` holds the prompt templates and the chat template it was trained with. With another prompt nothing below
or elsewhere measured about it holds.

## Recipe

{recipe}
* steps: {report.steps}
* adapter parameters: {report.trainable}

## Measured

Loss per answer token on {report.validation_rows} validation rows (nats):

{losses}

Whether it answers better than what runs today is in the evaluation report, not here.
"""
