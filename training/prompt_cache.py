"""What the base model makes of prompts, for adapters that act on answers only (Activated LoRA, arXiv:2504.12397).

Such an adapter leaves the prompt to the base model: its keys and values never change. So training
computes them once a row, and every later epoch costs only the tokens of the answers. A server
that holds the base's cache of a conversation answers from it with or without the adapter.
"""

from collections.abc import Sequence
from typing import Any

MAX_BYTES = 3 * 1024**3
"""Beyond it, further prompts are computed anew each time."""


class PromptCache:
    """Keys and values of prompts, as a causal language model with its adapter inactive computes them."""

    def __init__(self, model: Any) -> None:
        """`model`: the backbone (without its output layer), whose adapter layers are inactive unless told otherwise."""
        self.model = model
        self.held: dict[tuple[int, ...], Any] = {}
        self.used = 0
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        self.plain = kinds == {"full_attention"}
        """Whether the model's cache is of the kind that can be taken apart by rows."""

    def past(self, prompts: Sequence[tuple[int, ...]], padding: int) -> tuple[Any, Any]:
        """(cache, attention mask) of prompts padded on the left with the token `padding`; no gradients."""
        import torch

        width = max(len(ids) for ids in prompts)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=self.model.device)
        missing = [ids for ids in prompts if ids not in self.held]
        if missing or not self.plain:
            cache = self._computed(prompts, mask, padding)
            if self.plain:
                self._hold(prompts, cache)
            return cache, mask
        from transformers import DynamicCache

        layers = [
            [
                torch.stack([_padded(self.held[ids][layer, part], width) for ids in prompts]).to(
                    self.model.device, self.model.dtype
                )
                for part in (0, 1)
            ]
            for layer in range(self.model.config.num_hidden_layers)
        ]
        return DynamicCache(ddp_cache_data=layers), mask

    def _computed(self, prompts: Sequence[tuple[int, ...]], mask: Any, padding: int) -> Any:
        import torch

        width = mask.shape[1]
        ids = torch.tensor([[padding] * (width - len(ids)) + list(ids) for ids in prompts], device=self.model.device)
        with torch.no_grad():
            return self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=True
            ).past_key_values

    def _hold(self, prompts: Sequence[tuple[int, ...]], cache: Any) -> None:
        import torch

        for row, ids in enumerate(prompts):
            if ids in self.held or self.used > MAX_BYTES:
                continue
            kept = torch.stack(
                [torch.stack([layer.keys[row], layer.values[row]])[..., -len(ids) :, :] for layer in cache.layers]
            ).to("cpu")
            self.held[ids] = kept
            self.used += kept.numel() * kept.element_size()


def positions(mask: Any) -> Any:
    """Positions of tokens from an attention mask, 0 for the padding before them."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _padded(values: Any, width: int) -> Any:
    from torch.nn.functional import pad

    return pad(values, (0, 0, width - values.shape[-2], 0))
