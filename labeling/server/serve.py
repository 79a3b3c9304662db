"""Start and stop the embedded Argilla server, and see whether it runs.

The server holds a lock on a file in its folder for as long as it lives; the file says its process
id. So a process that was killed leaves nothing that must be cleaned up.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from labeling.server.install import ready_python, server_env
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError, NotReadyError
from logs_schema.records import Value

DATABASE = "argilla.db"
LOCK = "server.lock"
LOGINS = "logins.txt"
LOG = "server.log"
START_SECONDS = 300.0
STOP_SECONDS = 20.0


class ServeReport(Value):
    """A server that has just been started."""

    url: str
    pid: int
    home: str
    logins_file: str
    """Where user names and first passwords are kept, readable by its owner only."""
    new_logins: dict[str, str]
    """User name → password of the users that were created by this start."""

    def text(self) -> str:
        """Where to go and how to log in."""
        lines = [f"Argilla runs at {self.url} (process {self.pid}), for this machine only."]
        lines += [f"New login: {name}  password: {password}" for name, password in self.new_logins.items()]
        return "\n".join([*lines, f"Logins are kept in {self.logins_file}."])


class StopReport(Value):
    """Whether a server was stopped."""

    stopped: bool

    def text(self) -> str:
        """One line."""
        return "Stopped the Argilla server." if self.stopped else "No embedded Argilla server was running."


class Running(Value):
    """A server that holds the lock of its folder."""

    pid: int
    url: str


def start(settings: LabelingSettings, *, background: bool) -> tuple[ServeReport, subprocess.Popen[bytes]]:
    """Start the embedded server and wait until it answers.

    In the foreground it ends with this process, however that ends; in the background it stays.

    Raises:
        ConfigurationError: `api_url` is not on this machine, its port is taken, or a server runs already.
        NotReadyError: the server is not installed, or did not come up.
    """
    port = embedded_port(settings.api_url)
    python = ready_python(server_env(settings.server_env))
    home = Path(settings.home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    known = running(home)
    if known:
        raise ConfigurationError(
            f"The Argilla server of {home} already runs at {known.url} (process {known.pid}): stop it with "
            "`factory label stop`."
        )
    _refuse_taken(port)
    before = _logins(home)
    process = _spawn(python, home, port, settings, background)
    try:
        _wait_until_up(process, home, port)
    except BaseException:
        process.terminate()
        raise
    after = _logins(home)
    report = ServeReport(
        url=f"http://127.0.0.1:{port}",
        pid=process.pid,
        home=str(home),
        logins_file=str(home / LOGINS),
        new_logins={name: password for name, password in after.items() if name not in before},
    )
    return report, process


def attend(process: subprocess.Popen[bytes], home: Path, told: Callable[[], None]) -> None:
    """Tell that the server runs, then wait until it ends; an interrupt stops it in order, also while it is told.

    Raises:
        NotReadyError: it ended by itself, with an error.
    """
    try:
        told()
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return
    if code > 0:
        raise NotReadyError(f"The Argilla server ended by itself: {_last_words(home)}")


def stop(home: Path) -> StopReport:
    """Stop the server of this folder, and wait until it is gone.

    Raises:
        NotReadyError: it does not end even when killed.
    """
    known = running(home)
    if known is None:
        return StopReport(stopped=False)
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(known.pid, number)
        except ProcessLookupError:
            return StopReport(stopped=True)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if running(home) is None:
                return StopReport(stopped=True)
            time.sleep(0.1)
    raise NotReadyError(f"The Argilla server (process {known.pid}) does not end: look at it with `ps -p {known.pid}`.")


def running(home: Path) -> Running | None:
    """The server that holds the lock of this folder; None when none does."""
    file = home / LOCK
    if not file.exists():
        return None
    with file.open("r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = stream.read()
            return Running.model_validate(json.loads(content)) if content else Running(pid=0, url="(starting)")
    return None


def embedded_port(api_url: str) -> int:
    """The port of an `api_url` that the embedded server can serve.

    Raises:
        ConfigurationError: it is not `http://127.0.0.1:PORT`.
    """
    url = urllib.parse.urlsplit(api_url)
    local = url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost") and url.path in ("", "/")
    if not local:
        raise ConfigurationError(
            f"[labeling] api_url is {api_url}, but the embedded server listens on this machine only: "
            "set it to http://127.0.0.1:6900, or run Argilla there yourself."
        )
    return url.port or 80


def answers(url: str) -> bool:
    """Whether an Argilla server answers at this URL."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/api/v1/version", timeout=5) as response:
            return bool(json.load(response).get("version"))
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _spawn(
    python: Path, home: Path, port: int, settings: LabelingSettings, background: bool
) -> subprocess.Popen[bytes]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ARGILLA_", "FACTORY_", "HF_", "PYTHON", "VIRTUAL_ENV"))
    }
    command = [str(python), "-m", "embedded", "--home", str(home.absolute()), "--port", str(port)]
    command += ["--workspace", settings.workspace]
    command += [part for name in settings.curators for part in ("--curator", name)]
    command += [] if background else ["--until-stdin-closes"]
    log = os.open(home / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if background else subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=home,
            env={**inherited, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the server in order
        )
    finally:
        os.close(log)


def _wait_until_up(process: subprocess.Popen[bytes], home: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if answers(f"http://127.0.0.1:{port}"):
            return
        time.sleep(0.2)
    raise NotReadyError(f"The Argilla server did not come up: {_last_words(home)}")


def _last_words(home: Path) -> str:
    lines = (home / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it said nothing'}. Its log is {home / LOG}."


def _refuse_taken(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} on 127.0.0.1 cannot be used ({error.strerror}): another program has it; stop that, "
                "or set another port in [labeling] api_url."
            ) from error


def _logins(home: Path) -> dict[str, str]:
    file = home / LOGINS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return dict(line.split(" ", 1) for line in lines if " " in line and not line.startswith("#"))
