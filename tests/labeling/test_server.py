"""The real embedded server: start, stop, restart, and a kill at any moment."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.server.embedded import page
from labeling.server.install import install, python
from labeling.server.serve import answers, running, start, stop
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError

pytestmark = pytest.mark.slow

Served = tuple[LabelingSettings, Any]


def get(url: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(url + path, headers=headers, trust_env=False, timeout=30)


def token(url: str, name: str, password: str) -> str:
    response = httpx.post(f"{url}/api/v1/token", data={"username": name, "password": password}, trust_env=False)
    return str(response.raise_for_status().json()["access_token"])


def test_what_is_kept_is_private_and_the_page_is_safe(served: Served) -> None:
    settings, report = served
    home = Path(settings.home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o077 for file in home.iterdir() if file.stat().st_mode & 0o077} == {}
    assert set(report.new_logins) == {"owner", "ada", "bob"}
    for path in ("/", "/_nuxt/9511d27.js", "/api/v1/version", "/no/such/page"):
        assert "script-src 'self'" in get(settings.api_url, path).headers["content-security-policy"]
    assert (
        "access-control-allow-origin"
        not in get(settings.api_url, "/api/v1/version", Origin="http://evil.example").headers
    )


def test_a_second_start_is_refused(served: Served) -> None:
    with pytest.raises(ConfigurationError, match="already runs at"):
        start(served[0], background=True)


def test_the_server_tells_its_engine(served: Served) -> None:
    settings, _ = served
    key = (Path(settings.home) / "owner.key").read_text().strip()
    status = get(settings.api_url, "/api/v1/status", **{"X-Argilla-Api-Key": key})
    assert status.raise_for_status().json()["search_engine"]["engine"] == "sqlite"


def test_logins_survive_a_kill_and_a_restart(new_settings: LabelingSettings) -> None:
    url, home = new_settings.api_url, Path(new_settings.home)
    report, process = start(new_settings, background=True)
    mine = token(url, "ada", report.new_logins["ada"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert running(home) is None
    with_carl = new_settings.model_copy(update={"curators": ("ada", "carl")})
    again, process = start(with_carl, background=True)
    try:
        assert set(again.new_logins) == {"carl"}
        me = get(url, "/api/v1/me", Authorization=f"Bearer {mine}")
        assert me.raise_for_status().json()["username"] == "ada"
        assert token(url, "bob", report.new_logins["bob"])  # no longer in the settings, but still a user
        assert len(list((home / "scratch").glob("*/statics"))) == 1
    finally:
        assert stop(home).stopped
    process.wait(timeout=10)
    assert not answers(url)
    assert not stop(home).stopped


def test_a_kill_while_the_database_is_made_leaves_nothing_half_made(new_settings: LabelingSettings) -> None:
    home = Path(new_settings.home)
    home.mkdir(mode=0o700)
    command = [str(python(Path(new_settings.server_env))), "-m", "embedded", "--home", str(home), "--port", "1"]
    for wait_for in ("session.key", "migrating-*.db"):
        process = subprocess.Popen(
            [*command, "--workspace", "groundmill"],
            cwd=home,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path("labeling/server").absolute())},
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not list(home.glob(wait_for)) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (home / "argilla.db").exists()
    report, process = start(new_settings, background=True)
    assert stop(home).stopped
    process.wait(timeout=10)
    assert set(report.new_logins) == {"owner", "ada", "bob"}
    with closing(sqlite3.connect(home / "argilla.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_in_the_foreground_the_server_ends_with_the_command(new_settings: LabelingSettings) -> None:
    _, process = start(new_settings, background=False)
    assert process.stdin is not None
    process.stdin.close()  # what the system does when the starting process is killed
    process.wait(timeout=30)
    assert running(Path(new_settings.home)) is None


def test_the_installed_page_is_the_known_one(server_env: str, tmp_path: Path) -> None:
    installed = next(Path(server_env).glob("lib/python*/site-packages/argilla_server/static"))
    shutil.copytree(installed, tmp_path / "statics")
    page.cure(tmp_path / "statics")
    for file in (tmp_path / "statics").rglob("*.js"):
        assert "innerHTML:e._s(e.fieldText)" not in file.read_text(encoding="utf-8")


def test_installing_again_is_nothing_and_a_half_made_environment_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# nothing but the environment itself\n")
    monkeypatch.setattr("labeling.server.install.LOCK_FILE", lock)
    env = tmp_path / "env"
    env.mkdir()
    (env / ".groundmill").write_text("unfinished")
    (env / "rest").write_text("of a killed run")
    assert install(env).installed
    assert python(env).exists()
    assert not (env / "rest").exists()
    assert not install(env).installed
    lock.write_text("no-such-package-of-groundmill==9.9\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigurationError, match="failed while installing the Argilla server: ERROR"):
        install(env)
    assert (env / ".groundmill").read_text() == "unfinished"
