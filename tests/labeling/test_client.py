"""Logging in, and every way in which that fails: one clear sentence, never the key."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from labeling.client import connect, is_embedded, session, target
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError, NotReadyError

# argilla 2.8.0 still uses pydantic's class-based `Config`:
# https://github.com/argilla-io/argilla/blob/v2.8.0/argilla/src/argilla/_models/_record/_response.py
pytestmark = pytest.mark.filterwarnings(
    "ignore:Support for class-based `config`:pydantic.warnings.PydanticDeprecatedSince20"
)

KEY = "a-secret-key"


@pytest.fixture
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Something that is not Argilla 2, and answers everything with the test's parameter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = request.param.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def settings(url: str, home: Path, **changes: Any) -> LabelingSettings:
    return LabelingSettings(api_url=url, home=str(home), **changes)


def test_nobody_there(free_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="start it with `factory label serve`") as raised:
        connect(settings(free_url, tmp_path), KEY)
    assert KEY not in str(raised.value)


def test_no_key_at_all(free_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"set \$FACTORY_ARGILLA_API_KEY"):
        connect(settings(free_url, tmp_path))


@pytest.mark.parametrize(
    ("other_server", "message"),
    [
        ("<html>a blog</html>", "not an Argilla 2 server"),
        (json.dumps(["version"]), "not an Argilla 2 server"),
        (json.dumps({"version": "1.29.1"}), "version 1.29.1; version 2 or newer is needed"),
    ],
    indirect=["other_server"],
)
def test_something_else_there(other_server: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        connect(settings(other_server, tmp_path), KEY)


def test_a_key_that_no_header_can_carry(free_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        connect(settings(free_url, tmp_path), "schlüssel\n☃")
    assert "☃" not in str(raised.value)


def test_the_target_names_server_workspace_and_dataset(tmp_path: Path) -> None:
    there = settings("https://argilla.example/", tmp_path)
    assert target(there) == "https://argilla.example groundmill/rag-review"
    assert not is_embedded(there)


@pytest.mark.slow
class TestRealServer:
    def test_the_embedded_servers_own_key(self, served: tuple[LabelingSettings, Any]) -> None:
        with session(served[0]) as client:
            assert client.me.username == "owner"

    def test_a_wrong_key(self, served: tuple[LabelingSettings, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FACTORY_ARGILLA_API_KEY", KEY)
        with pytest.raises(ConfigurationError, match=r"refused the API key from \$FACTORY_ARGILLA_API_KEY") as raised:
            connect(served[0])
        assert KEY not in str(raised.value)

    def test_a_curators_key(self, served: tuple[LabelingSettings, Any], log_in: Any) -> None:
        key = log_in("ada").http.get("/api/v1/me").json()["api_key"]
        with pytest.raises(ConfigurationError, match="role annotator"):
            connect(served[0], key)

    def test_no_such_workspace(self, served: tuple[LabelingSettings, Any]) -> None:
        with pytest.raises(ConfigurationError, match="has no workspace nowhere"):
            connect(served[0].model_copy(update={"workspace": "nowhere"}))
