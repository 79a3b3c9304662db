"""Which processor trains and answers, in which number format, and how the base model is loaded on it."""

from pathlib import Path
from typing import Any, Literal

from logs_schema.errors import ConfigurationError
from logs_schema.records import Value
from training.base_model import BaseModel
from training.settings import TrainingSettings


class Device(Value):
    """The processor and its number format."""

    kind: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]


def choose(settings: TrainingSettings) -> Device:
    """CUDA when there is one and the settings allow it, else the CPU; sets the number of threads.

    The CPU computes in float32: bfloat16 is an order of magnitude slower on processors without
    AVX512-BF16 (measured: 7 against 70 GFLOP/s with AVX2).

    Raises:
        ConfigurationError: CUDA was asked for and there is none.
    """
    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            '[training] device = "cuda", but this machine shows no CUDA device: set it to "auto" or "cpu", '
            "or install a driver and a CUDA build of torch."
        )
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.device != "cpu" and torch.cuda.is_available():
        return Device(kind="cuda", dtype="bfloat16" if torch.cuda.is_bf16_supported() else "float32")
    return Device(kind="cpu", dtype="float32")


def load_model(base: BaseModel, settings: TrainingSettings, device: Device) -> Any:
    """The base model, quantized as in training.

    With NF4 (double quantization, QLoRA, arXiv:2305.14314) bitsandbytes quantizes the linear layers. On
    CUDA they stay packed. On the CPU they are unpacked once to float32: the values, and so the training,
    are those of NF4, without unpacking them anew at every step.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, device.dtype)
    quantization = None
    if settings.quantization == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=dtype, quantization_config=quantization, device_map={"": device.kind}, use_safetensors=True
    )
    if quantization and device.kind == "cpu":
        model = model.dequantize(dtype)
        # The flag outlives the unpacking, and would make the trainer hold the adapter in bfloat16.
        model.is_loaded_in_4bit = False
    model.eval()
    return model


def load_tokenizer(base: BaseModel) -> Any:
    """The base model's tokenizer, with a padding token.

    Raises:
        ConfigurationError: it has no chat template (a model that was not tuned to follow instructions).
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(base.folder))
    if not tokenizer.chat_template:
        raise ConfigurationError(
            f"[training] base_model: {base.name} has no chat template; choose an instruction-tuned model."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
