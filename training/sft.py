"""QLoRA supervised fine-tuning: a dataset folder in, a proven adapter folder out."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.examples import DatasetManifest
from logs_schema.files import folder_atomic
from logs_schema.records import PromptTemplate, content_hash
from logs_schema.scores import Track, untracked
from logs_schema.taxonomy import Split
from training.adapter import TrainReport, read_report, write_adapter
from training.base_model import BaseModel, resolve
from training.checkpoints import newest_whole, prove
from training.dataset import read_manifest, read_split
from training.device import Device, choose, load_model, load_tokenizer
from training.disk import weights_into
from training.fitting import FittedRows, TokenRow, fit, invocation
from training.generate import batches
from training.prompt_cache import PromptCache, positions
from training.quiet import quiet
from training.settings import TrainingSettings

RECIPE_VERSION = 3
"""Raise it when this code trains other weights from the same data and settings."""
PROMPTS = 8
"""Prompts that are computed at a time before training."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapter_id(manifest: DatasetManifest, settings: TrainingSettings, base: BaseModel, device: Device) -> str:
    """Id of the adapter that this data, recipe, base and processor make: 16 hexadecimal digits, before training."""
    return content_hash([RECIPE_VERSION, manifest.dataset_id, settings.recipe, base.sha256, device.model_dump()])


def train(
    dataset: Path,
    settings: TrainingSettings,
    out: Path,
    *,
    templates: Sequence[PromptTemplate] = (),
    track: Track = untracked,
) -> TrainReport:
    """Train an adapter on a dataset folder and keep it as `out/<adapter id>`.

    A finished adapter of the same data, recipe and base is returned as it is. A killed run resumes from
    its newest whole checkpoint. Nothing appears under the adapter's own name before it is whole.

    Args:
        dataset: folder with `manifest.json` and the splits.
        settings: recipe, with absolute folders (`TrainingSettings.located`).
        out: folder of all adapters.
        templates: prompt templates to ship with the adapter.
        track: shows progress over the optimizer steps.

    Raises:
        NotReadyError: no dataset, no base model, or another process trains this very adapter.
        ConfigurationError: the device or model cannot be used, or the loss diverged.
        InputError: the dataset is damaged, or none of its rows fits `max_length`.
    """
    manifest = read_manifest(dataset)
    device = choose(settings)
    base = resolve(settings)
    name = adapter_id(manifest, settings, base, device)
    final = out / name
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / f".{name}.lock", timeout=0):
            finished = read_report(final)
            if finished is not None:
                return finished.model_copy(update={"reused": True, "path": str(final)})
            with quiet(), weights_into(out):
                return _train(name, dataset, manifest, settings, base, device, out, templates, track)
    except Timeout as error:
        raise NotReadyError(f"Adapter {name} is being trained by another process: wait for it to end.") from error


def _train(
    name: str,
    dataset: Path,
    manifest: DatasetManifest,
    settings: TrainingSettings,
    base: BaseModel,
    device: Device,
    out: Path,
    templates: Sequence[PromptTemplate],
    track: Track,
) -> TrainReport:
    from transformers import set_seed

    examples = {split: read_split(dataset, split) for split in (Split.train, Split.validation)}
    tokenizer = load_tokenizer(base)
    rows = fit(tokenizer, examples[Split.train], settings.max_length)
    validation = fit(tokenizer, examples[Split.validation], settings.max_length)
    if not rows.rows:
        raise InputError(
            f"None of the {len(examples[Split.train])} training rows of {dataset} fits max_length = "
            f"{settings.max_length} tokens: raise it in [training]."
        )
    set_seed(settings.seed)
    model = _with_adapter(load_model(base, settings, device), tokenizer, settings, base, device)
    run = out / f".{name}.run"
    resumed = newest_whole(run)
    started = time.monotonic()
    prompts = PromptCache()
    if settings.method == "activated":
        lead = len(invocation(tokenizer))
        _remember(prompts, model, [row.prompt_ids[:-lead] for row in rows.rows], tokenizer.pad_token_id, track)
    trainer = _trainer(model, tokenizer, rows, validation, settings, device, run, prompts, track)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    checks = [(entry["step"], entry["eval_loss"]) for entry in trainer.state.log_history if "eval_loss" in entry]
    if not all(math.isfinite(loss) for _, loss in losses + checks):
        shutil.rmtree(run)
        raise ConfigurationError(
            f"The loss of adapter {name} diverged: lower [training] learning_rate ({settings.learning_rate})."
        )
    fitted = {row.example_id for row in rows.rows}
    report = TrainReport(
        adapter_id=name,
        dataset_id=manifest.dataset_id,
        base_model=base.name,
        base_revision=base.revision,
        base_sha256=base.sha256,
        path=str(out / name),
        sha256="",
        recipe=settings.recipe,
        dataset_files=manifest.files,
        rows=dict(sorted(Counter(e.kind.value for e in examples[Split.train] if e.example_id in fitted).items())),
        validation_rows=len(validation.rows),
        shortened=rows.shortened,
        refused=rows.refused + validation.refused,
        tokens=sum(len(row.prompt_ids) + len(row.completion_ids) for row in rows.rows),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        steps=trainer.state.global_step,
        resumed_from=int(resumed.name.rpartition("-")[2]) if resumed else None,
        seconds=round(time.monotonic() - started, 1),
        device=f"{device.kind} {device.dtype}",
        losses=tuple(losses),
        validation_losses=tuple(checks),
    )
    if settings.method == "activated":
        # Training feeds the adapter answers only; whoever loads it feeds it conversations.
        model.peft_config["default"].alora_invocation_tokens = list(invocation(tokenizer))
    with folder_atomic(out / name) as partial:
        report = write_adapter(partial, model, tokenizer, report, manifest, templates)
    shutil.rmtree(run, ignore_errors=True)
    return report


def _with_adapter(model: Any, tokenizer: Any, settings: TrainingSettings, base: BaseModel, device: Device) -> Any:
    """The model with LoRA on the linear layers of its upper layers."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.quantization == "nf4" and device.kind == "cuda":
        model = prepare_model_for_kbit_training(model)
    model.config.use_cache = False
    layers: int = model.config.num_hidden_layers
    first = layers - max(1, round(layers * settings.lora_layers))
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=TARGETS,
        layers_to_transform=list(range(first, layers)) if first else None,
        layers_pattern="layers" if first else None,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigurationError(
            f"[training] base_model: {base.name} has none of the layers {', '.join(TARGETS)} that adapters go to."
        ) from error
    # The base's folder is a path of this machine: the adapter names the base as the settings do.
    adapted.peft_config["default"].base_model_name_or_path = base.name
    adapted.peft_config["default"].revision = base.revision
    return adapted


def _remember(prompts: PromptCache, model: Any, rows: Sequence[tuple[int, ...]], padding: int, track: Track) -> None:
    """Compute prompts before training, those of like length together: in the order of training a fifth is padding."""
    backbone = model.get_base_model().base_model
    if not prompts.keeps(backbone):
        return
    with model.disable_adapter():
        for batch in track(batches([len(row) for row in rows], PROMPTS), description="Reading prompts"):
            before = prompts.used
            prompts.past(backbone, [rows[index] for index in batch], padding)
            if prompts.used == before:  # there is no more room, or they were there already
                break


def _trainer(
    model: Any,
    tokenizer: Any,
    rows: FittedRows,
    validation: FittedRows,
    settings: TrainingSettings,
    device: Device,
    run: Path,
    prompts: PromptCache,
    track: Track,
) -> Any:
    import torch
    from torch import Tensor
    from torch.nn.functional import cross_entropy
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    activated = settings.method == "activated"
    lead = len(invocation(tokenizer)) if activated else 0

    class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
        """Computes the loss on answers only, with their first tokens weighted, and prompts once if it can."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            causal = model.get_base_model()
            arguments, labels = self.after_prompts(model, inputs) if activated else self.whole(inputs)
            hidden = causal.base_model(**arguments).last_hidden_state[:, :-1]
            labels = labels[:, 1:]
            wanted = labels != -100
            count = wanted.sum() if num_items_in_batch is None else num_items_in_batch
            # Only answers are projected to the vocabulary; the stock loss projects every token on a CPU.
            logits = causal.get_output_embeddings()(hidden[wanted]).float()
            losses = cross_entropy(logits, labels[wanted], reduction="none")
            first = wanted & ~torch.nn.functional.pad(wanted, (1, 0))[:, :-1]
            if model.training:  # validation stays in plain nats per token
                losses = torch.where(first[wanted], losses * settings.first_token_weight, losses)
            loss = losses.sum() / count
            return (loss, {"loss": loss}) if return_outputs else loss

        def whole(self, inputs: dict[str, Tensor]) -> tuple[dict[str, Any], Tensor]:
            """(arguments of the backbone, labels): prompts and answers."""
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            return {"input_ids": ids, "attention_mask": mask, "use_cache": False}, inputs["labels"]

        def after_prompts(self, model: Any, inputs: dict[str, Tensor]) -> tuple[dict[str, Any], Tensor]:
            """The same from where the adapter is invoked on; what comes before is the base model's."""
            ids, labels, lengths = inputs["input_ids"], inputs["labels"], inputs["attention_mask"].sum(dim=1)
            cuts = ((labels != -100).int().argmax(dim=1) - lead).tolist()
            with model.disable_adapter():
                past, before = prompts.past(
                    model.get_base_model().base_model,
                    [tuple(row[:cut].tolist()) for row, cut in zip(ids, cuts, strict=True)],
                    tokenizer.pad_token_id,
                )
            width = int(max(length - cut for length, cut in zip(lengths.tolist(), cuts, strict=True)))
            tails = torch.full((len(cuts), width), tokenizer.pad_token_id, device=ids.device)
            taught = torch.full_like(tails, -100)
            mask = torch.zeros_like(tails)
            for row, (cut, length) in enumerate(zip(cuts, lengths.tolist(), strict=True)):
                tails[row, : length - cut] = ids[row, cut:length]
                taught[row, : length - cut] = labels[row, cut:length]
                mask[row, : length - cut] = 1
            mask = torch.cat([before, mask], dim=1)
            arguments = {
                "input_ids": tails,
                "attention_mask": mask,
                "position_ids": positions(mask)[:, -width:],
                "past_key_values": past,
                "use_cache": True,
            }
            return arguments, taught

    class Proof(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            prove(run / f"checkpoint-{state.global_step}")

    class Progress(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            left = range(state.global_step, state.max_steps)
            self.steps = iter(track(left, description="Training steps", total=len(left)))
            next(self.steps, None)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            next(self.steps, None)

    config = SFTConfig(
        output_dir=str(run),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        gradient_checkpointing=device.kind == "cuda" and not activated,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps,
        max_grad_norm=1.0,
        # By length, refusals would come in batches of their own where only answers are computed.
        train_sampling_strategy="random" if activated else "group_by_length",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        eval_strategy="epoch" if validation.rows else "no",
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=device.kind == "cpu",
        bf16=device.dtype == "bfloat16",
        dataloader_pin_memory=device.kind == "cuda",
        disable_tqdm=True,
        report_to="none",
    )
    trainer = CompletionTrainer(
        model=model,
        args=config,
        train_dataset=_columns(rows.rows),
        eval_dataset=_columns(validation.rows) if validation.rows else None,
        processing_class=tokenizer,
        callbacks=[Proof(), Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    if len(trainer.train_dataset) != len(rows.rows):
        raise AssertionError(f"{len(rows.rows)} rows were given, the trainer kept {len(trainer.train_dataset)}")
    return trainer


def _columns(rows: Sequence[TokenRow]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": [*row.prompt_ids, *row.completion_ids],
                "labels": [-100] * len(row.prompt_ids) + list(row.completion_ids),
            }
            for row in rows
        ]
    )
