"""Answering as one of the compared models, with every answer kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logs_schema.records import Message, content_hash
from logs_schema.scores import Track, untracked
from training.answer_cache import AnswerCache, prompt_key
from training.base_model import BaseModel
from training.device import Device
from training.fitting import encode, prompt_text
from training.generate import answer_batch, batches, load
from training.prompt_cache import PromptCache
from training.settings import TrainingSettings


class Rung:
    """One model on the ladder: the quantized base, or the base with an adapter. Loaded when first needed."""

    def __init__(
        self,
        base: BaseModel,
        settings: TrainingSettings,
        device: Device,
        adapter: Path | None = None,
        sha256: str = "",
        prompts: PromptCache | None = None,
    ) -> None:
        """`prompts`: what the base makes of prompts, shared with others that leave prompts to it."""
        self.base, self.settings, self.device, self.adapter, self.prompts = base, settings, device, adapter, prompts
        self.key = content_hash([base.sha256, settings.quantization, device.kind, device.dtype, sha256])
        self._loaded: tuple[Any, Any] | None = None

    @property
    def loaded(self) -> tuple[Any, Any]:
        """(model, tokenizer)."""
        if self._loaded is None:
            self._loaded = load(self.base, self.settings, self.device, self.adapter)
        return self._loaded

    def release(self) -> None:
        """Let go of the model's memory; it is loaded again when needed."""
        self._loaded = None

    def answers(
        self,
        prompts: Sequence[tuple[Message, ...]],
        cache: Path,
        *,
        max_new_tokens: int,
        batch_size: int,
        description: str,
        track: Track = untracked,
    ) -> list[str]:
        """Greedy answers in the order of the prompts; those in the cache folder are not made again.

        The batches depend on the prompts alone, so that a resumed run answers as an uninterrupted one.
        """
        known = AnswerCache(cache / f"{self.key}-{max_new_tokens}.jsonl")
        if any(known.get(prompt) is None for prompt in prompts):
            model, tokenizer = self.loaded
            encoded = [encode(tokenizer, prompt_text(tokenizer, prompt)) for prompt in prompts]
            for batch in track(batches([len(ids) for ids in encoded], batch_size), description=description):
                if all(known.get(prompts[index]) is not None for index in batch):
                    continue
                texts = answer_batch(
                    model, tokenizer, [encoded[index] for index in batch], max_new_tokens, self.prompts
                )
                known.add([(prompts[index], text) for index, text in zip(batch, texts, strict=True)])
        return [known.known[prompt_key(prompt)] for prompt in prompts]
