"""The scorer that the settings name: words alone, or words and meanings."""

from sqlalchemy import Engine

from factory.mining.combination import Fit
from factory.mining.encoder import sentence_encoder
from factory.mining.lexical import lexical_scorer
from factory.mining.semantic import semantic_scorer
from factory.mining.settings import MiningSettings
from factory.mining.vectors import kept_vectors
from logs_schema.scores import Scorer
from logs_schema.settings import HouseSettings


def fit_name(settings: MiningSettings) -> str:
    """Which of the package's fits the settings need."""
    return "semantic" if settings.encoder else "lexical"


def configured_scorer(engine: Engine, settings: MiningSettings, house: HouseSettings, fit: Fit) -> Scorer:
    """A scorer by the settings.

    Args:
        engine: The store, which keeps the vectors of passages.
        settings: Name the sentence encoder, if any.
        house: The wording of "I don't know".
        fit: The calibration in force.

    Raises:
        ConfigurationError: the encoder cannot be used.
    """
    if not settings.encoder:
        return lexical_scorer(house, fit)
    encode = sentence_encoder(settings.encoder)
    return semantic_scorer(house, encode, kept_vectors(engine, encode, settings.encoder), fit)
