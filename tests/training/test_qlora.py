"""The real thing, small: quantize, train, be killed, resume, evaluate, gate."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.examples import TrainingExample
from training.settings import EMBEDDED_MODEL, EvaluationSettings, GateSettings, TrainingSettings

pytestmark = pytest.mark.slow

Rows = Callable[..., list[TrainingExample]]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of four layers and random weights, with a tokenizer that knows every byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from training.quiet import quiet

    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: at for at, token in enumerate(["<|start|>", "<|end|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|start|>", eos_token="<|end|>")
    fast.pad_token = "<|end|>"
    fast.chat_template = (
        "{% for m in messages %}<|start|>{{ m['role'] }}:{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=True,
    )
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
        fast.save_pretrained(folder)
    return folder


@pytest.fixture
def settings(tiny_base: Path, tmp_path: Path) -> TrainingSettings:
    return TrainingSettings(
        base_model=str(tiny_base),
        device="cpu",
        threads=1,
        epochs=2,
        batch_size=4,
        save_steps=1,
        warmup_steps=0,
        lora_layers=0.5,
        learning_rate=1e-3,
        cache=str(tmp_path / "models"),
        adapters=str(tmp_path / "adapters"),
    )


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


def moved(adapter: Path) -> bool:
    """Whether training changed the weights that start at zero."""
    weights = tensors(adapter / "adapter_model.safetensors")
    return any(abs(values).max() > 0 for name, values in weights.items() if "lora_B" in name)


def test_trains_reuses_and_keeps_only_safetensors(
    write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path
):
    from training.sft import train

    dataset = write_dataset(train=make_rows("train", 5, 2, 1), validation=make_rows("validation", 2, 1))
    report = train(dataset, settings, tmp_path / "adapters")
    folder = Path(report.path)
    weights = tensors(folder / "adapter_model.safetensors")
    assert moved(folder) and {values.dtype.name for values in weights.values()} == {"float32"}
    assert all(".layers.2." in name or ".layers.3." in name for name in weights)
    assert report.steps == 4 and sum(report.rows.values()) == 8 and report.validation_rows == 3
    assert len(report.validation_losses) == 2
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "loss.json",
        "prompt.json",
        "training.json",
    }
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.md"))
    again = train(dataset, settings, tmp_path / "adapters")
    assert again.reused and again.sha256 == report.sha256
    elsewhere = train(dataset, settings, tmp_path / "second")
    assert elsewhere.sha256 == report.sha256, "the same seed, data and recipe give the same weights"
    assert not list((tmp_path / "adapters").glob(".*.run"))


def test_validation_loss_is_plain_nats_whatever_the_first_token_weighs(
    write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path
):
    from training.sft import train

    dataset = write_dataset(train=make_rows("train", 2, 2), validation=make_rows("validation", 2, 1))
    still = settings.model_copy(update={"learning_rate": 1e-12, "epochs": 1.0})
    plain, heavy = (
        train(dataset, still.model_copy(update={"first_token_weight": weight}), tmp_path / "adapters")
        for weight in (1.0, 50.0)
    )
    assert heavy.losses[0][1] > 1.5 * plain.losses[0][1]
    assert heavy.validation_losses[0][1] == pytest.approx(plain.validation_losses[0][1], rel=1e-3)


def test_an_activated_adapter_sees_prompts_as_the_base_does(
    write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path
):
    """What training computes from remembered prompts is what PEFT computes from the whole conversation."""
    import torch

    from training.base_model import resolve
    from training.device import choose
    from training.fitting import fit, invocation
    from training.generate import answer_batch, load
    from training.prompt_cache import PromptCache, positions
    from training.sft import train

    activated = settings.model_copy(update={"method": "activated", "epochs": 6.0, "learning_rate": 2e-2})
    rows = make_rows("train", 3, 2, 1)
    report = train(write_dataset(train=rows), activated, tmp_path / "adapters")
    assert moved(Path(report.path))
    base = resolve(settings)
    adapted, tokenizer = load(base, settings, choose(settings), Path(report.path))
    plain, _ = load(base, settings, choose(settings))
    lead = invocation(tokenizer)
    cache, backbone = PromptCache(), adapted.get_base_model().base_model
    pad = tokenizer.pad_token_id
    with torch.no_grad():
        for chosen in (fit(tokenizer, rows, 1024).rows[:3],) * 2:  # computed, then remembered
            prompts = [row.prompt_ids[: -len(lead)] for row in chosen]
            past, before = cache.past(backbone, prompts, pad)
            tails = [(*lead, *row.completion_ids) for row in chosen]
            width = max(map(len, tails))
            mask = torch.cat([before, torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in tails])], dim=1)
            found = adapted(
                input_ids=torch.tensor([[*t, *[pad] * (width - len(t))] for t in tails]),
                attention_mask=mask,
                position_ids=positions(mask)[:, -width:],
                past_key_values=past,
                use_cache=True,
            ).logits
            for row, prompt, tail, logits in zip(chosen, prompts, tails, found, strict=True):
                ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
                whole = adapted(input_ids=ids).logits[0]
                untouched = plain(input_ids=ids).logits[0]
                assert torch.allclose(whole[: len(prompt)], untouched[: len(prompt)], atol=1e-4)
                assert not torch.allclose(whole[len(prompt) :], untouched[len(prompt) :], atol=2e-3)
                assert torch.allclose(whole[len(prompt) :], logits[: len(tail)], atol=2e-3)
    assert set(cache.held) == set(prompts) and all(held.dtype == torch.float16 for held in cache.held.values())
    asked, shared = [row.prompt_ids for row in chosen], PromptCache()
    for model in (plain, adapted):  # the second takes over what the first made of the prompts
        assert answer_batch(model, tokenizer, asked, 12, shared) == answer_batch(model, tokenizer, asked, 12)
    assert answer_batch(plain, tokenizer, asked, 12) != answer_batch(adapted, tokenizer, asked, 12)


def test_the_cpu_trains_on_the_values_of_nf4(settings: TrainingSettings):
    from training.base_model import resolve
    from training.device import choose, load_model
    from training.quiet import quiet

    base, device = resolve(settings), choose(settings)
    with quiet():
        quantized = load_model(base, settings, device)
        plain = load_model(base, settings.model_copy(update={"quantization": "none"}), device)
    weight = quantized.model.layers[0].mlp.up_proj.weight
    assert len(weight.flatten()[:64].unique()) <= 16, "a block of 64 weights has at most 16 values"
    original = plain.model.layers[0].mlp.up_proj.weight
    assert 0 < ((weight - original).abs().mean() / original.abs().mean()).item() < 0.2


RUN = """
import sys
from pathlib import Path
from training.settings import TrainingSettings
from training.sft import train
train(Path(sys.argv[1]), TrainingSettings.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_killed_run_resumes_and_skips_a_damaged_checkpoint(
    write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path
):
    from training.sft import train

    long = settings.model_copy(update={"epochs": 15.0})
    dataset, out = write_dataset(train=make_rows("train", 5, 3)), tmp_path / "adapters"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(dataset), long.model_dump_json(), str(out)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 300
    while len(list(out.glob(".*.run/checkpoint-*/sha256.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in out.iterdir() if not path.name.startswith(".")], "nothing half-made under its name"
    (run,) = out.glob(".*.run")
    whole = sorted(run.glob("checkpoint-*/sha256.json"), key=lambda path: path.stat().st_mtime_ns)
    damaged = whole[-1].parent
    with (damaged / "adapter_model.safetensors").open("r+b") as stream:
        stream.truncate(20)
    report = train(dataset, long, out)
    assert report.resumed_from is not None
    assert report.resumed_from < int(damaged.name.removeprefix("checkpoint-"))
    assert report.steps == 30 and [step for step, _ in report.losses] == list(range(1, 31))


def test_rows_that_do_not_fit_are_named(
    write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path
):
    from training.sft import train

    rows = make_rows("train", 4, 2)
    long = rows[0].model_copy(update={"completion": "very long " * 100, "example_id": "f" * 16})
    dataset = write_dataset(train=[*rows, long])
    report = train(dataset, settings.model_copy(update={"max_length": 370}), tmp_path / "adapters")
    assert report.refused == ("f" * 16,) and sum(report.rows.values()) == 6 and report.shortened > 0
    assert "1 row was left out" in report.text()
    with pytest.raises(InputError, match="fits max_length"):
        train(dataset, settings.model_copy(update={"max_length": 64}), tmp_path / "adapters")


def test_a_diverging_run_says_so(write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path):
    from training.sft import train

    wild = settings.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ConfigurationError, match="learning_rate"):
        train(write_dataset(train=make_rows("train", 5, 3)), wild, tmp_path / "adapters")
    assert not [path for path in (tmp_path / "adapters").iterdir() if path.is_dir()]


def test_the_whole_way_to_the_gate(
    write_dataset: Write,
    make_rows: Rows,
    settings: TrainingSettings,
    engine: Engine,
    register_dataset: Callable[[Path], str],
    tmp_path: Path,
):
    from training.pipeline import run_evaluation, run_gate, run_training, show
    from training.registry import approve, champion

    dataset = write_dataset(train=make_rows("train", 5, 3), test=make_rows("test", 4, 2, 1, audit=2))
    with pytest.raises(NotReadyError, match="factory dataset build"):
        run_training(engine, settings, root=tmp_path)
    register_dataset(dataset)
    with pytest.raises(NotReadyError, match="factory train"):
        run_gate(engine, GateSettings())
    trained = run_training(engine, settings, root=tmp_path)
    with pytest.raises(NotReadyError, match="factory eval"):
        run_gate(engine, GateSettings())
    small = EvaluationSettings(max_new_tokens=4, batch_size=4, bootstrap=100, forgetting_rows=3)

    def evaluate(**changes: Any) -> Any:
        return run_evaluation(
            engine,
            small.model_copy(update=changes),
            settings,
            root=tmp_path,
            is_abstention=lambda text: text.startswith("I"),
            groundedness=lambda pairs: [0.5] * len(pairs),
        )

    report = evaluate()
    assert report.rows == 6 and report.answerable == 4 and report.audit_rows == 2
    assert [rung.rung for rung in report.rungs] == ["production", "base", "challenger", "always refusing"]
    assert report.rung("production").rows == 3 and report.rung("base").rows == 6
    assert report.rung("always refusing").figures["false_refusal"].value == 1
    assert report.forgetting is not None and report.forgetting.base > 0
    saved = [json.loads(line) for line in (Path(report.path) / "answers.jsonl").read_text().splitlines()]
    assert len(saved) == 6 and set(saved[0]["answers"]) >= {"base", "challenger"}
    answered = {path: path.read_bytes() for path in (tmp_path / "evaluations" / "answers").rglob("*.jsonl")}
    assert evaluate() == report
    assert answered == {path: path.read_bytes() for path in (tmp_path / "evaluations" / "answers").rglob("*.jsonl")}

    decision = run_gate(engine, GateSettings())
    assert not decision.passed and decision == run_gate(engine, GateSettings())
    with pytest.raises(NotReadyError, match="refused"):
        approve(engine, trained.adapter_id, by="Ada")
    shown = show(engine).text()
    assert "gate refused" in shown and "held-out rows" in shown
    assert champion(engine) is None


def test_the_embedded_model(write_dataset: Write, make_rows: Rows, tmp_path: Path):
    from training.general import general_replies
    from training.sft import train

    cache = Path(os.environ.get("GROUNDMILL_TEST_MODELS", str(tmp_path / "models")))
    settings = TrainingSettings(
        base_model=EMBEDDED_MODEL, device="cpu", threads=1, epochs=1, batch_size=4, method="activated", cache=str(cache)
    )
    replies = general_replies(settings, cache, 1)
    assert replies[0][0] == "What is the capital of France?" and "Paris" in replies[0][1]
    assert general_replies(settings, cache, 1) == replies
    report = train(write_dataset(train=make_rows("train", 5, 3)), settings, tmp_path / "adapters")
    assert report.steps == 2 and report.base_model == EMBEDDED_MODEL
    assert any(
        abs(v).max() > 0 for k, v in tensors(Path(report.path) / "adapter_model.safetensors").items() if "_B" in k
    )


@pytest.mark.gpu
def test_packed_nf4_on_cuda(write_dataset: Write, make_rows: Rows, settings: TrainingSettings, tmp_path: Path):
    import torch

    from training.sft import train

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    on_gpu = settings.model_copy(update={"device": "cuda"})
    report = train(write_dataset(train=make_rows("train", 5, 3)), on_gpu, tmp_path / "adapters")
    assert report.device.startswith("cuda")
    assert any(
        abs(v).max() > 0 for k, v in tensors(Path(report.path) / "adapter_model.safetensors").items() if "_B" in k
    )
