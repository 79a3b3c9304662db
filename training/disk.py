"""Full disks, as torch and safetensors see them: neither raises an `OSError` for what it cannot write."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from logs_schema.errors import no_room


@contextmanager
def weights_into(folder: Path) -> Iterator[None]:
    """Turn what these libraries raise when weights do not fit on the disk into one sentence.

    Raises:
        FactoryError: the disk is full or fails.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if "No space left" not in str(error) and "I/O error" not in str(error):
            raise
        raise no_room(folder, error) from error
    except RuntimeError as error:
        # torch's own words for a short write: "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"
        if "inline_container" not in str(error):
            raise
        raise no_room(folder, "the disk took only a part of a checkpoint") from error
