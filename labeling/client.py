"""Log in to an Argilla server, embedded or deployed, and talk to it in plain requests.

The client library is used for what it does well (log in, create a dataset). Records travel as plain
JSON over its HTTP session: its own reader breaks on discarded responses, drops their times, and
prints progress bars.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError, FactoryError, InputError, NotReadyError

if TYPE_CHECKING:
    from argilla import Argilla

KEY_VARIABLE = "FACTORY_ARGILLA_API_KEY"
KEY_FILE = "owner.key"


def connect(settings: LabelingSettings, api_key: str | None = None) -> "Argilla":
    """Log in with the given key, else `FACTORY_ARGILLA_API_KEY`, else the embedded server's own.

    Raises:
        ConfigurationError: a refused key, one that may not manage datasets, no such workspace, or a server
            older than 2.
        NotReadyError: there is no key, or nothing answers at `api_url`.
    """
    key, origin = _key(settings, api_key)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import argilla
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)
    http: dict[str, Any] = {"timeout": settings.timeout_s, "trust_env": not _is_local(settings)}  # no proxy to here
    try:
        with httpx.Client(base_url=settings.api_url, headers={"X-Argilla-Api-Key": key}, **http) as first:
            _refuse_old(settings, first.get("/api/v1/version"))
            me = first.get("/api/v1/me")
            me.raise_for_status()
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status not in (401, 403):
            raise NotReadyError(f"Argilla at {settings.api_url} answers with {status}: look at its log.") from error
        raise ConfigurationError(f"Argilla at {settings.api_url} refused the API key from {origin}.") from error
    except httpx.HTTPError as error:
        raise NotReadyError(_unreachable(settings, error)) from error
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"The API key from {origin} holds characters that no API key has.") from error
    role = me.json()["role"]
    if role not in ("owner", "admin"):
        raise ConfigurationError(
            f"The API key from {origin} belongs to a user with the role {role}: an owner's or admin's is needed."
        )
    client = argilla.Argilla(api_url=settings.api_url, api_key=key, retries=1, **http)
    try:
        workspace_id(client, settings)
    except FactoryError:
        client.http_client.close()
        raise
    return client


@contextmanager
def session(settings: LabelingSettings, api_key: str | None = None) -> Iterator["Argilla"]:
    """As `connect`; the connection is closed at the end of the block."""
    client = connect(settings, api_key)
    try:
        yield client
    finally:
        client.http_client.close()


def ask(client: "Argilla", method: str, path: str, **request: Any) -> Any:
    """One request; the JSON of its answer (None when it is empty).

    Raises:
        NotReadyError: no answer, or the server failed.
        ConfigurationError: not allowed.
        InputError: the server refused what was sent.
    """
    import httpx

    try:
        response = client.http_client.request(method, path, **request)
    except httpx.HTTPError as error:
        raise NotReadyError(f"Argilla did not answer {method} {path}: {error or type(error).__name__}.") from error
    if response.is_success:
        return response.json() if response.content else None
    detail = response.text[:300]
    kind: type[FactoryError] = InputError
    if response.status_code in (401, 403):
        kind = ConfigurationError
    elif response.status_code >= 500:
        kind = NotReadyError
    raise kind(f"Argilla answered {method} {path} with {response.status_code}: {detail}")


def workspace_id(client: "Argilla", settings: LabelingSettings) -> str:
    """Id of the workspace that the settings name.

    Raises:
        ConfigurationError: the user sees no such workspace.
    """
    for workspace in ask(client, "GET", "/api/v1/me/workspaces")["items"]:
        if workspace["name"] == settings.workspace:
            return str(workspace["id"])
    raise ConfigurationError(
        f"Argilla at {settings.api_url} has no workspace {settings.workspace} for this user: create it there, "
        "or set [labeling] workspace."
    )


def find_dataset(client: "Argilla", settings: LabelingSettings) -> dict[str, Any] | None:
    """The review dataset as the server describes it; None when there is none."""
    within = {"workspace_id": workspace_id(client, settings)}
    found = ask(client, "GET", "/api/v1/me/datasets", params=within)["items"]
    return next((dataset for dataset in found if dataset["name"] == settings.dataset), None)


def records_by_id(client: "Argilla", dataset_id: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of at most 250 records that the dataset holds, with their responses, by our record id."""
    scope = {"entity": "record", "property": "external_id"}
    found = search(client, dataset_id, [{"type": "terms", "scope": scope, "values": list(ids)}], len(ids))
    return {record["external_id"]: record for page in found for record in page}


def submitted_records(client: "Argilla", dataset_id: str, page: int) -> Iterator[list[dict[str, Any]]]:
    """Records with at least one submitted response, in pages."""
    scope = {"entity": "response", "property": "status"}
    yield from search(client, dataset_id, [{"type": "terms", "scope": scope, "values": ["submitted"]}], page)


def search(
    client: "Argilla", dataset_id: str, filters: list[dict[str, Any]], page: int
) -> Iterator[list[dict[str, Any]]]:
    """Matching records with responses and suggestions, oldest first, in pages."""
    oldest_first = [{"scope": {"entity": "record", "property": "inserted_at"}, "order": "asc"}]
    offset = 0
    while True:
        found = ask(
            client,
            "POST",
            f"/api/v1/datasets/{dataset_id}/records/search",
            params={"offset": offset, "limit": page, "include": ["responses", "suggestions"]},
            json={"filters": {"and": filters}, "sort": oldest_first},
        )["items"]
        if found:
            yield [item["record"] for item in found]
        if len(found) < page:
            return
        offset += page


def question_ids(client: "Argilla", dataset_id: str) -> dict[str, str]:
    """Name → id of the dataset's questions."""
    questions = ask(client, "GET", f"/api/v1/datasets/{dataset_id}/questions")["items"]
    return {question["name"]: question["id"] for question in questions}


def usernames(client: "Argilla") -> dict[str, str]:
    """Id → name of the server's users."""
    return {user["id"]: user["username"] for user in ask(client, "GET", "/api/v1/users")["items"]}


def target(settings: LabelingSettings) -> str:
    """`URL workspace/dataset`: which Argilla dataset a record was pushed to."""
    return f"{settings.api_url} {settings.workspace}/{settings.dataset}"


def is_embedded(settings: LabelingSettings) -> bool:
    """Whether `api_url` is on this machine and the embedded server has been started here before."""
    return _is_local(settings) and _key_file(settings).is_file()


def _is_local(settings: LabelingSettings) -> bool:
    return urlsplit(settings.api_url).hostname in ("127.0.0.1", "localhost")


def _key_file(settings: LabelingSettings) -> Path:
    return Path(settings.home) / KEY_FILE


def _key(settings: LabelingSettings, api_key: str | None) -> tuple[str, str]:
    if api_key:
        return api_key, "the caller"
    if os.environ.get(KEY_VARIABLE):
        return os.environ[KEY_VARIABLE], f"${KEY_VARIABLE}"
    if is_embedded(settings):
        return _key_file(settings).read_text(encoding="ascii").strip(), str(_key_file(settings))
    raise NotReadyError(
        f"There is no API key for Argilla at {settings.api_url}: set ${KEY_VARIABLE} to an owner's or admin's key, "
        "or start the embedded server with `factory label serve`."
    )


def _unreachable(settings: LabelingSettings, error: Exception) -> str:
    cure = "start it with `factory label serve`" if _is_local(settings) else "check [labeling] api_url and the network"
    return f"No Argilla answers at {settings.api_url} ({error or type(error).__name__}): {cure}."


def _refuse_old(settings: LabelingSettings, response: Any) -> None:
    try:
        version = str(response.json()["version"])
        major = int(version.split(".")[0])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"What answers at {settings.api_url} is not an Argilla 2 server.") from error
    if major < 2:
        raise ConfigurationError(f"Argilla at {settings.api_url} is version {version}; version 2 or newer is needed.")
