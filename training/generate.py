"""Answers of a model: greedy, in batches of similar length, the same every time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logs_schema.errors import InputError
from logs_schema.records import Message
from logs_schema.scores import Track, untracked
from training.adapter import verify
from training.base_model import BaseModel
from training.device import Device, load_model, load_tokenizer
from training.fitting import encode, invocation, prompt_text
from training.prompt_cache import PromptCache
from training.quiet import quiet
from training.settings import TrainingSettings


def load(base: BaseModel, settings: TrainingSettings, device: Device, adapter: Path | None = None) -> tuple[Any, Any]:
    """(model, tokenizer): the base quantized as in training, afresh, with the adapter if one is given.

    Raises:
        InputError: the adapter is damaged, or was trained on another base model.
    """
    with quiet():
        model, tokenizer = load_model(base, settings, device), load_tokenizer(base)
        if adapter is None:
            return model, tokenizer
        report = verify(adapter)
        if report.base_sha256 != base.sha256:
            raise InputError(
                f"Adapter {report.adapter_id} was trained on another base model ({report.base_model}) "
                f"than {base.name}: set [training] base_model to that one."
            )
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(model, adapter, use_safetensors=True)
        adapted.eval()
        return adapted, tokenizer


def batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of similar length, the longest first; the same for the same lengths."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[Message, ...]],
    *,
    max_new_tokens: int,
    batch_size: int,
    track: Track = untracked,
) -> list[str]:
    """One greedy answer a prompt, in the order of the prompts, without special tokens.

    Raises:
        InputError: a prompt does not fit the model's window.
    """
    encoded = [encode(tokenizer, prompt_text(tokenizer, prompt)) for prompt in prompts]
    found = [""] * len(prompts)
    for batch in track(batches([len(ids) for ids in encoded], batch_size), description="Answering"):
        texts = answer_batch(model, tokenizer, [encoded[index] for index in batch], max_new_tokens)
        for index, text in zip(batch, texts, strict=True):
            found[index] = text
    return found


def answer_batch(
    model: Any,
    tokenizer: Any,
    encoded: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    prompts: PromptCache | None = None,
) -> list[str]:
    """Greedy answers to one batch of token ids, padded on the left, each ending at its end-of-turn token.

    With `prompts`, what the base makes of the prompts is taken from there, or put there: for the base model
    and for activated adapters only, which leave prompts to it.
    """
    import torch

    width = max(len(ids) for ids in encoded)
    window = getattr(model.config, "max_position_embeddings", None)
    if window and width + max_new_tokens > window:
        raise InputError(
            f"A prompt of {width} tokens and an answer of {max_new_tokens} do not fit the model's window of {window}: "
            "build the dataset with fewer distractors, or choose another base model."
        )
    padding = tokenizer.pad_token_id
    ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    past = None
    if prompts is not None:
        backbone = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
        lead = len(invocation(tokenizer))
        past, _ = prompts.past(backbone, [row[:-lead] for row in encoded], padding)
    with quiet(), torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            past_key_values=past,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=padding,
        )
    return [text.strip() for text in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]


def loss_sums(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[tuple[Message, ...], str]], batch_size: int
) -> list[tuple[float, int]]:
    """(negative log-likelihood in nats, tokens) of each given answer, without the end of its turn."""
    import torch
    from torch.nn.functional import cross_entropy

    rows = [
        (
            encode(tokenizer, prompt_text(tokenizer, prompt)),
            encode(tokenizer, reply),
        )
        for prompt, reply in pairs
    ]
    sums = [(0.0, 0)] * len(rows)
    for batch in batches([len(prompt) + len(reply) for prompt, reply in rows], batch_size):
        width = max(len(rows[index][0]) + len(rows[index][1]) for index in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for line, index in enumerate(batch):
            whole = [*rows[index][0], *rows[index][1]]
            ids[line, : len(whole)] = torch.tensor(whole)
            mask[line, : len(whole)] = 1
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits.float().cpu()
        for line, index in enumerate(batch):
            start, count = len(rows[index][0]), len(rows[index][1])
            target = torch.tensor(rows[index][1])
            nll = cross_entropy(logits[line, start - 1 : start - 1 + count], target, reduction="sum")
            sums[index] = (float(nll), count)
    return sums
