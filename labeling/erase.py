"""Take records out of Argilla, with what curators wrote there."""

from collections.abc import Sequence
from pathlib import Path

from labeling import client as argilla
from labeling.server.serve import DATABASE
from labeling.settings import LabelingSettings
from logs_schema.database import pack
from logs_schema.errors import NotReadyError
from logs_schema.rows import chunks

MOST = 100
"""Records that Argilla deletes at a time."""


def erase(settings: LabelingSettings, target: str, ids: Sequence[str], *, api_key: str | None = None) -> int:
    """Delete records, by our ids, from the Argilla that the settings name; how many it held.

    The file of an embedded server is packed, so that no byte of them stays in it.

    Raises:
        NotReadyError: the records are in another Argilla, or it does not answer.
        ConfigurationError, InputError: see `client.connect` and `client.ask`.
    """
    if target != argilla.target(settings):
        raise NotReadyError(f"they are in {target}, and [labeling] names {argilla.target(settings)}")
    count = 0
    with argilla.session(settings, api_key) as client:
        dataset = argilla.find_dataset(client, settings)
        dataset_id = str(dataset["id"]) if dataset else None
        for some in chunks(ids, MOST) if dataset_id else ():
            held = argilla.records_by_id(client, str(dataset_id), some)
            if held:
                path = f"/api/v1/datasets/{dataset_id}/records"
                argilla.ask(client, "DELETE", path, params={"ids": ",".join(one["id"] for one in held.values())})
                count += len(held)
    if argilla.is_embedded(settings):
        pack(Path(settings.home) / DATABASE)
    return count
