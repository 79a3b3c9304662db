"""The optional, dearer stages that the settings ask for."""

from typing import Any

from sqlalchemy import Engine

from factory.mining.batch import Rules
from factory.mining.cascade import Stage
from factory.mining.settings import MiningSettings


def dear_stages(engine: Engine, rules: Rules) -> list[Stage]:
    """Stages that one process runs for all: they have one copy of a model, or one budget.

    Raises:
        NotReadyError: what a stage needs is not installed.
        ConfigurationError: its model cannot be used.
    """
    stages = []
    if rules.settings.encoder:
        from factory.mining.encoder import sentence_encoder
        from factory.mining.semantic import semantic_scorer
        from factory.mining.vectors import kept_vectors

        encode = sentence_encoder(rules.settings.encoder)
        passages = kept_vectors(engine, encode, rules.settings.encoder)
        score = semantic_scorer(rules.house, encode, passages, rules.fit("semantic"))
        stages.append(Stage("meanings", score, measures=frozenset({"sufficiency"})))
    if rules.settings.model.name:
        from factory.mining.model import model_stage

        stages.append(model_stage(rules.settings, rules.house))
    if rules.settings.judge.base_url:
        from factory.mining.judge import judge_stage

        stages.append(judge_stage(engine, rules.settings))
    return stages


def identity(settings: MiningSettings) -> dict[str, Any]:
    """What verdicts owe to the dearer stages, for the miner's version: nothing without them."""
    found: dict[str, Any] = {"encoder": settings.encoder} if settings.encoder else {}
    if settings.model.name:
        found["model"] = settings.model.model_dump(exclude={"batch", "device"})
    if settings.judge.base_url:
        from factory.mining.judge import prompt_hash

        found["judge"] = {"model": settings.judge.model, "prompt": prompt_hash()}
    return found
