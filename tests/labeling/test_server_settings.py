"""Starting the embedded server with something wrong: one clear sentence, no server."""

import socket
from pathlib import Path

import pytest

from labeling.server.install import install, ready_python
from labeling.server.serve import embedded_port, running, start, stop
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError, NotReadyError


@pytest.fixture
def fake_env(tmp_path: Path) -> str:
    """An environment that looks complete."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").touch()
    return str(tmp_path / "env")


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:6900", "http://argilla.example:6900", "http://127.0.0.1:6900/argilla"],
)
def test_an_url_that_is_not_this_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="this machine only"):
        embedded_port(url)


@pytest.mark.parametrize(
    "url", ["", "no url", "127.0.0.1:6900", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:b", "http://a:99999"]
)
def test_an_url_that_is_none_is_a_configuration_mistake(url: str) -> None:
    with pytest.raises(ValueError, match="api_url"):
        LabelingSettings(api_url=url)


def test_the_port_is_read_off_the_url() -> None:
    assert embedded_port("http://localhost:6901/") == 6901


def test_serving_before_installing_names_the_command(tmp_path: Path) -> None:
    settings = LabelingSettings(home=str(tmp_path / "home"), server_env=str(tmp_path / "none"))
    with pytest.raises(NotReadyError, match="run `factory label install` once"):
        start(settings, background=True)
    assert not (tmp_path / "home").exists()


def test_a_half_made_environment_is_not_ready(fake_env: str) -> None:
    assert ready_python(Path(fake_env)).exists()
    (Path(fake_env) / ".groundmill").write_text("unfinished")
    with pytest.raises(NotReadyError, match="factory label install"):
        ready_python(Path(fake_env))


def test_a_taken_port_is_named(tmp_path: Path, fake_env: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = LabelingSettings(api_url=f"http://127.0.0.1:{port}", home=str(tmp_path / "h"), server_env=fake_env)
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1"):
            start(settings, background=True)


def test_a_left_over_lock_file_is_no_running_server(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    (tmp_path / "server.lock").write_text('{"pid": 1, "url": "http://127.0.0.1:6900"}')
    assert running(tmp_path) is None
    assert not stop(tmp_path).stopped


def test_a_server_that_dies_at_start_says_why_and_where_its_log_is(tmp_path: Path, free_url: str) -> None:
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho starting\necho 'no such module' >&2\nexit 3\n")
    python.chmod(0o755)
    settings = LabelingSettings(api_url=free_url, home=str(tmp_path / "home"), server_env=str(tmp_path / "env"))
    with pytest.raises(NotReadyError, match=r"no such module\. Its log is .*server\.log"):
        start(settings, background=True)
    assert (tmp_path / "home" / "server.log").stat().st_mode & 0o777 == 0o600


def test_installing_never_touches_a_folder_of_someone_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="holds something else"):
        install(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("curators", [("owner",), ("ada", "ada"), ("a b",), ("",), ("x\ny",)])
def test_unusable_curator_names_are_refused(curators: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="curators"):
        LabelingSettings(curators=curators)
