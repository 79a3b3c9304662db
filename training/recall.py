"""Remembering what the frozen lower layers of a model make of a row.

With adapters on the upper layers only, the lower ones give the same for a row in every epoch. On a
CPU, where arithmetic is the bottleneck, they are computed once a row: of 30 layers with adapters on
the upper 12, an epoch after the first costs 40 % of a full one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_BYTES = 2 * 1024**3
"""Beyond it, further rows are computed anew each time."""


@contextmanager
def recalled_lower_layers(model: Any, first_adapted: int) -> Iterator[None]:
    """Within the block, `model` (a causal language model, batches padded on the right) remembers.

    The first of the lower layers is replaced by one that computes or recalls all of them, the others by
    ones that pass their input on, so that the upper layers and their adapters keep their names. Padding
    on the right does not reach earlier positions in a causal model, so a row's hidden states do not
    depend on the batch it is in.

    Args:
        model: a model with `model.model.layers`, all of one attention type.
        first_adapted: index of the lowest layer with adapter weights.
    """
    import torch
    from torch import nn

    backbone = model.model
    lower = list(backbone.layers[:first_adapted])
    remembered: dict[bytes, torch.Tensor] = {}
    used = 0
    rows: list[tuple[bytes, int]] = []

    def read_rows(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"]
        lengths = mask.sum(dim=1).tolist()
        rows[:] = [(ids[i, :length].numpy().tobytes(), length) for i, length in enumerate(lengths)]

    class Recall(nn.Module):  # type: ignore[misc]
        def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            nonlocal used
            if all(key in remembered for key, _ in rows):
                recalled = torch.zeros_like(hidden_states)
                for i, (key, length) in enumerate(rows):
                    recalled[i, :length] = remembered[key]
                return recalled
            with torch.no_grad():
                for layer in lower:
                    hidden_states = layer(hidden_states, **kwargs)
            for i, (key, length) in enumerate(rows):
                size = length * hidden_states.shape[-1] * hidden_states.element_size()
                if key not in remembered and used + size <= MAX_BYTES:
                    remembered[key] = hidden_states[i, :length].clone()
                    used += size
            return hidden_states

    class Pass(nn.Module):  # type: ignore[misc]
        def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
            return hidden_states

    hook = backbone.register_forward_pre_hook(read_rows, with_kwargs=True)
    for index in range(first_adapted):
        backbone.layers[index] = Recall() if index == 0 else Pass()
    try:
        yield
    finally:
        hook.remove()
        for index, layer in enumerate(lower):
            backbone.layers[index] = layer


def can_recall(model: Any, first_adapted: int) -> bool:
    """Whether the model's lower layers are of the plain kind that can be remembered."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    return first_adapted > 0 and kinds == {"full_attention"} and hasattr(getattr(model, "model", None), "layers")
