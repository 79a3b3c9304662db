"""What the base model makes of prompts, for adapters that act on answers only (Activated LoRA, arXiv:2504.12397).

Such an adapter leaves the prompt to the base model: its keys and values never change. So training
computes them once a row, and every later epoch costs only the tokens of the answers. A server
that holds the base's cache of a conversation answers from it with or without the adapter.
"""

from collections.abc import Sequence
from typing import Any

MAX_BYTES = 4 * 1024**3
"""Beyond it, further prompts are computed anew each time."""


class PromptCache:
    """Keys and values of prompts as one base model computes them, remembered by their token ids.

    They are remembered in half precision on the CPU, where arithmetic is the bottleneck, and used so from the
    first time on: what comes of a prompt does not depend on who asked for it before.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[int, ...], Any] = {}
        """Token ids → half-precision tensor [layers, 2 (keys, values), heads, tokens, width]."""
        self.used = 0

    def keeps(self, model: Any) -> bool:
        """Whether prompts of this model are remembered while there is room."""
        # Only a cache of the plain kind can be taken apart by rows.
        kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
        return model.device.type == "cpu" and kinds == {"full_attention"}

    def past(self, model: Any, prompts: Sequence[tuple[int, ...]], padding: int) -> tuple[Any, Any]:
        """(keys and values, attention mask) of prompts padded on the left with the token `padding`; no gradients.

        Args:
            model: the backbone (without output layer) of the base model; adapter layers in it are inactive.
            prompts: token ids of each row.
            padding: token id.
        """
        import torch
        from transformers import DynamicCache

        if not self.keeps(model):
            return _computed(model, prompts, padding)
        missing = [ids for ids in dict.fromkeys(prompts) if ids not in self.held]
        rows = {ids: self.held[ids] for ids in prompts if ids in self.held}
        if missing:
            cache, _ = _computed(model, missing, padding)
            for row, ids in enumerate(missing):
                parts = [
                    torch.stack([layer.keys[row], layer.values[row]])[..., -len(ids) :, :] for layer in cache.layers
                ]
                rows[ids] = torch.stack(parts).half()
                if self.used + rows[ids].nbytes <= MAX_BYTES:
                    self.held[ids] = rows[ids]
                    self.used += rows[ids].nbytes
        width = max(len(ids) for ids in prompts)
        whole = torch.stack([_padded(rows[ids], width) for ids in prompts], dim=2).to(model.dtype)
        return DynamicCache(ddp_cache_data=[(layer[0], layer[1]) for layer in whole]), _mask(prompts, width, model)


def _computed(model: Any, prompts: Sequence[tuple[int, ...]], padding: int) -> tuple[Any, Any]:
    import torch

    width = max(len(ids) for ids in prompts)
    mask = _mask(prompts, width, model)
    ids = torch.tensor([[padding] * (width - len(ids)) + list(ids) for ids in prompts], device=model.device)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=True)
    return found.past_key_values, mask


def _mask(prompts: Sequence[tuple[int, ...]], width: int, model: Any) -> Any:
    import torch

    return torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)


def positions(mask: Any) -> Any:
    """Positions of tokens from an attention mask, 0 for the padding before them."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _padded(values: Any, width: int) -> Any:
    from torch.nn.functional import pad

    return pad(values, (0, 0, width - values.shape[-2], 0))
