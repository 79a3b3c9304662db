"""`[labeling]`: which Argilla holds the review records."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from logs_schema.settings import Section

Username = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.@\-]{0,63}$")]

OWNER = "owner"
"""User of the embedded server that the factory itself logs in as."""


class LabelingSettings(Section):
    """`[labeling]`. The API key is a secret: it comes from `FACTORY_ARGILLA_API_KEY` only.

    Without that variable, the key of the embedded server's owner is read from `home`.
    """

    api_url: str = "http://127.0.0.1:6900"
    """The embedded server serves `http://127.0.0.1:PORT`; any other URL is an Argilla that you deploy."""
    workspace: str = Field(default="groundmill", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]*$")
    dataset: str = Field(default="rag-review", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\- ]*$")
    home: str = ".groundmill/argilla"
    """Folder of the embedded server: its database, keys and logins (0600)."""
    server_env: str = ""
    """Python environment of the embedded server; empty: beside this product, in `share/groundmill/argilla-server`."""
    curators: tuple[Username, ...] = ("curator",)
    """Annotator users that `factory label serve` creates."""
    batch_size: int = Field(default=100, ge=1, le=250)
    """Records sent or read at a time."""
    timeout_s: float = Field(default=30.0, gt=0)

    @field_validator("api_url")
    @classmethod
    def _api_url_is_http(cls, api_url: str) -> str:
        url = urlsplit(api_url)  # a malformed one raises ValueError, as does reading its port
        if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
            raise ValueError("write it like http://127.0.0.1:6900")
        return api_url.rstrip("/")

    @field_validator("curators")
    @classmethod
    def _curators_are_distinct(cls, curators: tuple[str, ...]) -> tuple[str, ...]:
        if OWNER in curators:
            raise ValueError(f"`{OWNER}` is the factory's own user; give the curator another name")
        if len(set(curators)) < len(curators):
            raise ValueError("a name is given twice")
        return curators

    def located(self, root: Path) -> "LabelingSettings":
        """A copy whose folders are absolute; relative ones start at `root`, the folder of `factory.toml`."""
        folders = {
            name: str((root / value).absolute()) for name in ("home", "server_env") if (value := getattr(self, name))
        }
        return self.model_copy(update=folders)
