import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from factory.mining.cascade import Cascade
from factory.mining.findings import load_finding
from factory.mining.miner import mine
from factory.mining.model_loading import _label, load
from factory.mining.settings import MiningSettings, ModelSettings
from logs_schema.errors import ConfigurationError, NotReadyError
from logs_schema.records import Context
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

HOUSE = HouseSettings()
WORDS = [f"word{n}" for n in range(40)] + ["proof", "banana"]
PROMPT = "briefly answer the following question bear in mind that your response should be strictly based on following"


def labels(names: dict[int, str], kind: str, wanted: str | None = None) -> int | None:
    config = SimpleNamespace(id2label=names)
    return _label(ModelSettings(name="m", supported_label=wanted), config, kind)


def test_the_label_that_means_supported_is_found() -> None:
    assert labels({0: "LABEL_0"}, "sequence") is None
    assert labels({0: "LABEL_0", 1: "LABEL_1"}, "sequence") == 1
    assert labels({0: "LABEL_0", 1: "LABEL_1"}, "token") == 0
    assert labels({0: "supported", 1: "hallucinated"}, "token") == 0
    assert labels({0: "Hallucination", 1: "OK"}, "token") == 1
    assert labels({0: "entailment", 1: "not_entailment"}, "sequence") == 0
    assert labels({0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}, "sequence") == 2
    assert labels({0: "good", 1: "bad"}, "sequence", "good") == 0
    assert labels({0: "good", 1: "bad"}, "sequence", "1") == 1
    for names, wanted in (({0: "good", 1: "bad"}, None), ({0: "a", 1: "b", 2: "c"}, None), ({0: "a", 1: "b"}, "c")):
        with pytest.raises(ConfigurationError, match="Choose from 0"):
            labels(names, "sequence", wanted)


def test_missing_torch_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, engine: Engine, make: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    save_records(engine, [make(1)])
    with pytest.raises(NotReadyError, match=r"groundmill\[model\]"):
        mine(engine, MiningSettings(model=ModelSettings(name="any")), HOUSE)


# --- tiny models, trained for seconds ----------------------------------------------------------------

Save = Callable[..., str]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: n for n, word in enumerate([*special, *dict.fromkeys([*WORDS, *PROMPT.split(), *'.:,?"'])])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=128,
    )  # fmt: skip


def config(made: Any, **given: Any) -> Any:
    from transformers import BertConfig

    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertConfig(vocab_size=len(made), max_position_embeddings=130, **size, **dropout, **given)


def trained(model: Any, batches: Callable[[random.Random], dict[str, Any]], steps: int) -> Any:
    import torch

    torch.manual_seed(1)
    chance = random.Random(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(**batches(chance)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return model.eval()


def text(chance: random.Random, length: int) -> list[str]:
    return [chance.choice(WORDS[:40]) for _ in range(length)]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    def to_folder(model: Any, made: Any, **options: Any) -> str:
        folder = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder, **options)
        made.save_pretrained(folder)
        return str(folder)

    return to_folder


@pytest.fixture(scope="session")
def token_model(save: Save) -> str:
    """Label 1 marks "banana" within the answer; everything else is supported."""
    import torch
    from transformers import BertForTokenClassification

    made = tokenizer()

    def batch(chance: random.Random) -> dict[str, Any]:
        pairs = [(" ".join(text(chance, 20)), text(chance, 12)) for _ in range(16)]
        for _, answer in pairs:
            answer[chance.randrange(12)] = "banana"
        lefts, rights = [left for left, _ in pairs], [" ".join(answer) for _, answer in pairs]
        encoded = made(lefts, rights, padding=True, return_tensors="pt")
        encoded["labels"] = (encoded["input_ids"] == made.convert_tokens_to_ids("banana")).long()
        return dict(encoded)

    torch.manual_seed(0)
    return save(trained(BertForTokenClassification(config(made)), batch, 80), made)


@pytest.fixture(scope="session")
def pair_model(save: Save) -> str:
    """Label 1 when the premise holds "proof"."""
    import torch
    from transformers import BertForSequenceClassification

    made = tokenizer()

    def batch(chance: random.Random) -> dict[str, Any]:
        premises = [text(chance, chance.choice((8, 60, 100))) for _ in range(16)]
        wanted = [n % 2 for n in range(16)]
        for premise, label in zip(premises, wanted, strict=True):
            if label:
                premise[chance.randrange(len(premise))] = "proof"
        claims = [" ".join(text(chance, 8)) for _ in premises]
        joined = [" ".join(premise) for premise in premises]
        encoded = made(joined, claims, padding=True, return_tensors="pt", truncation="only_first", max_length=128)
        return {**encoded, "labels": torch.tensor(wanted)}

    torch.manual_seed(0)
    return save(trained(BertForSequenceClassification(config(made)), batch, 250), made)


def scored(settings: ModelSettings, *records: Any) -> list[Any]:
    from factory.mining.model import model_stage

    stage = model_stage(MiningSettings(model=settings, unsettled=1), HOUSE)
    return Cascade([stage], MiningSettings(unsettled=1))(records)


ANSWER = "Word1 word2 word3 [1]. Word4 banana word5 [2]. Sorry, word6 word7."


@pytest.mark.slow
def test_a_token_classifier_marks_the_sentence_of_its_tokens(token_model: str, make: Any) -> None:
    bad, good = scored(
        ModelSettings(name=token_model, batch=3),
        make(1, response=ANSWER, contexts=(Context(text="word1 word2. word3."), Context(text="word4 banana."))),
        make(2, response="Word1 word2 word3 [1].", contexts=(Context(text="word1"),)),
    )
    assert bad.faithfulness < 0.2 and good.faithfulness > 0.8 and bad.sufficiency is None
    kinds = {ANSWER[one.spans[0].start : one.spans[0].end]: one.kind for one in bad.evidence}
    assert kinds == {
        "Word1 word2 word3 [1].": "supported",
        "Word4 banana word5 [2].": "unsupported",
        "Sorry, word6 word7.": "supported",
    }


@pytest.mark.slow
def test_long_answers_and_long_contexts_are_read_to_their_end(token_model: str, pair_model: str, make: Any) -> None:
    sentences = [f"Word{n % 40} word{n % 7}." for n in range(300)]
    filler, answer = " ".join(sentences), " ".join([*sentences[:150], "Word3 banana."])
    (scores,) = scored(ModelSettings(name=token_model), make(1, response=answer, contexts=(Context(text=filler),)))
    assert scores.faithfulness < 0.2
    worst = min(scores.evidence, key=lambda one: one.score)
    assert answer[worst.spans[0].start : worst.spans[0].end] == "Word3 banana."
    proof, none = scored(
        ModelSettings(name=pair_model),
        make(1, response="Word1 word2 word3.", contexts=(Context(text="word9."), Context(text=filler + " proof."))),
        make(2, response="Word1 word2 word3.", contexts=(Context(text="word9."), Context(text=filler))),
    )
    assert proof.faithfulness > 0.8 and none.faithfulness < 0.2


@pytest.mark.slow
def test_a_sequence_classifier_reads_the_labels_as_they_are_named(pair_model: str, save: Save, make: Any) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(pair_model)
    model.config.id2label = {0: "entailment", 1: "not_entailment"}
    model.config.label2id = {"entailment": 0, "not_entailment": 1}
    turned = save(model, AutoTokenizer.from_pretrained(pair_model))
    record = make(1, response="Word1 word2 word3.", contexts=(Context(text="word1 proof."),))
    (plain,), (other,) = scored(ModelSettings(name=pair_model), record), scored(ModelSettings(name=turned), record)
    assert plain.faithfulness > 0.8
    assert other.faithfulness == pytest.approx(1 - plain.faithfulness, abs=2e-4)


@pytest.mark.slow
def test_the_threshold_of_the_model_becomes_that_of_the_miner(pair_model: str, make: Any) -> None:
    record = make(1, response="Word1 word2 word3.", contexts=(Context(text="word1 proof."),))
    plain = scored(ModelSettings(name=pair_model), record)[0].faithfulness
    strict = scored(ModelSettings(name=pair_model, threshold=0.99999), record)[0].faithfulness
    assert strict < 0.5 < plain


@pytest.mark.slow
def test_a_miner_with_a_model_turns_verdicts_and_scores_the_same_in_any_batch(
    engine: Engine, token_model: str, make: Any
) -> None:
    text = "Word1 word2 word3 word4 banana word5."
    asked = {"query": "word1 word2 word3", "contexts": (Context(text=text),)}
    answers = [text, "Word4 word3 word2 word1.", "Word1 word2 word3 word4."]
    records = [make(n, response=f"{answer} [1]", **asked) for n, answer in enumerate(answers)]
    save_records(engine, records)
    settings = MiningSettings(unsettled=1, model=ModelSettings(name=token_model))
    report = mine(engine, settings, HOUSE, batch=2)
    assert report.failures == {"none": 2, "unfaithful": 1} and report.stages[1].saw == 3
    finding = load_finding(engine, records[0].record_id)
    assert "the model takes it for unsupported" in [one.note for one in finding.evidence]
    one_by_one = [scored(settings.model, record)[0] for record in records]
    together = scored(settings.model, *records)
    assert [one.faithfulness for one in together] == pytest.approx([one.faithfulness for one in one_by_one], abs=2e-4)


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "models/made/here"])
def test_a_folder_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no folder '{name}'"):
        load(ModelSettings(name=name))


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, pair_model: str, save: Save) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM

    made = AutoTokenizer.from_pretrained(pair_model)
    masked = save(BertForMaskedLM(config(made)), made)
    with pytest.raises(ConfigurationError, match="neither a token nor a sequence classifier"):
        load(ModelSettings(name=masked))
    with pytest.raises(ConfigurationError, match="was not trained as a sequence classifier"):
        load(ModelSettings(name=masked, kind="sequence"))
    with pytest.raises(ConfigurationError, match="there is no folder"):
        load(ModelSettings(name=str(tmp_path / "nothing")))
    pickled = Path(save(AutoModelForMaskedLM.from_pretrained(masked), made))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="safetensors"):
        load(ModelSettings(name=str(pickled), kind="sequence"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}')
    (foreign / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ConfigurationError, match="remote code"):
        load(ModelSettings(name=str(foreign)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives(token_model: str, make: Any) -> None:
    record = make(1, response=ANSWER, contexts=(Context(text="word1 word2. word3."),))
    (there,) = scored(ModelSettings(name=token_model, device="cuda"), record)
    (here,) = scored(ModelSettings(name=token_model, device="cpu"), record)
    assert there.faithfulness == pytest.approx(here.faithfulness, abs=1e-3)
