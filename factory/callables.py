"""What labeling and training need of mining, handed to them as plain callables."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from factory.settings import Settings
from logs_schema.scores import AbstentionDetector


def abstention_detector(settings: Settings) -> AbstentionDetector:
    """The miner's detector, with the house wording."""
    from factory.mining.abstention import is_abstention

    wording = settings.house.abstention
    return lambda text: is_abstention(text, wording)


def general_rows(settings: Settings) -> Callable[[int], Sequence[tuple[str, str]]] | None:
    """General rows from the base model's own replies; None without the `train` extra."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return None
    training = settings.training.located(settings.root)

    def replies(count: int) -> list[tuple[str, str]]:
        from pathlib import Path

        from training.general import general_replies

        return general_replies(training, Path(training.cache), count)

    return replies
