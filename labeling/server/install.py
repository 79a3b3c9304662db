"""The environment of the embedded server: argilla-server's pins do not fit beside the factory's."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from logs_schema.errors import ConfigurationError, NotReadyError
from logs_schema.records import Value
from logs_schema.scores import Track, untracked

LOCK_FILE = Path(__file__).with_name("requirements.lock")
MARKER = ".groundmill"
UNFINISHED = "unfinished"


class InstallReport(Value):
    """What `factory label install` did."""

    env: str
    installed: bool
    """False when the environment was complete already."""

    def text(self) -> str:
        """One line."""
        return f"{'Installed' if self.installed else 'Already installed:'} the Argilla server in {self.env}."


def default_env() -> Path:
    """Where the environment is when no setting says otherwise: within the factory's own Python environment."""
    return Path(sys.prefix) / "share" / "groundmill" / "argilla-server"


def server_env(setting: str) -> Path:
    """The environment's folder, as set or the default."""
    return Path(setting) if setting else default_env()


def install(env: Path, track: Track = untracked) -> InstallReport:
    """Make the environment of the embedded server; one that was left half-made is made anew.

    Raises:
        ConfigurationError: the folder holds something else, or creating or installing failed.
    """
    wanted = _wanted()
    marker = env / MARKER
    if marker.is_file():
        if marker.read_text(encoding="utf-8") == wanted:
            return InstallReport(env=str(env), installed=False)
        shutil.rmtree(env)
    elif env.exists() and (not env.is_dir() or any(env.iterdir())):
        raise ConfigurationError(
            f"{env} holds something else than the Argilla server: set [labeling] server_env to a new folder."
        )
    env.mkdir(parents=True, exist_ok=True)
    marker.write_text(UNFINISHED, encoding="utf-8")
    pip = [str(python(env)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    steps = {
        "creating the environment": [sys.executable, "-m", "venv", str(env)],
        "installing the Argilla server": [*pip, "--requirement", str(LOCK_FILE)],
    }
    for step in track(steps, description="label install", total=len(steps)):
        done = subprocess.run(steps[step], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
            raise ConfigurationError(f"Installing the Argilla server in {env} failed while {step}: {reason}")
    marker.write_text(wanted, encoding="utf-8")
    return InstallReport(env=str(env), installed=True)


def python(env: Path) -> Path:
    """The environment's interpreter."""
    return env / "bin" / "python"


def ready_python(env: Path) -> Path:
    """The interpreter of a complete environment, ours or one made by hand.

    Raises:
        NotReadyError: it is missing, half-made, or made for another version of this product.
    """
    marker = env / MARKER
    complete = python(env).exists() and (not marker.is_file() or marker.read_text(encoding="utf-8") == _wanted())
    if not complete:
        raise NotReadyError(f"The Argilla server is not installed in {env}: run `factory label install` once.")
    return python(env)


def _wanted() -> str:
    return hashlib.sha256(LOCK_FILE.read_bytes() + sys.version.split()[0].encode()).hexdigest()
