"""The demo: the whole loop of the factory on the help centre's logs, by the commands that people type.

Run by `scripts/demo`. It resumes where it was stopped; a second run finds nothing new to do and says so.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FACTORY = str(Path(sys.executable).with_name("factory"))
CURATOR = "scripted-curator"


class Demo:
    """Runs commands in the demo's folder and shows them as a transcript."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}

    def title(self, text: str) -> None:
        """A heading with the minutes since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"\n━━ {text} ━━ {minutes}:{seconds:02d}", flush=True)

    def run(self, *words: str, allowed: tuple[int, ...] = (0,)) -> int:
        """Run `factory WORDS…`, shown as it is typed; any other exit code ends the demo."""
        print(f"\n$ factory {' '.join(words)}", flush=True)
        code = subprocess.run([FACTORY, *words], cwd=self.folder, env=self.environment, check=False).returncode
        if code not in allowed:
            raise SystemExit(f"demo: `factory {' '.join(words)}` ended with exit code {code}. Mend that and run this again.")
        return code

    def ask(self, *words: str) -> Any:
        """The JSON report of a command that only looks."""
        asked = subprocess.run(
            [FACTORY, *words, "--json"], cwd=self.folder, env=self.environment, check=False, stdout=subprocess.PIPE
        )
        return json.loads(asked.stdout)


def prepare(folder: Path) -> None:
    """Settings and logs in the demo's folder; the settings stay as they are once they are there."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "logs.jsonl", folder / "logs" / "helpdesk.jsonl")
    settings = folder / "factory.toml"
    if not settings.exists():
        text = (HERE / "factory.toml").read_text(encoding="utf-8")
        settings.write_text(text.replace(":6911", f":{free_port(6911)}"), encoding="utf-8")


def free_port(wanted: int) -> int:
    """The wanted port, or another when a program has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("demo: no port is free on 127.0.0.1.")


def review(demo: Demo) -> str:
    """Let the scripted curator review what is pending; returns Argilla's URL."""
    served = demo.ask("label", "serve", "--background") if not demo.ask("label", "status")["running"] else None
    state = demo.ask("label", "status")
    url = str(state["url"])
    if served:
        print(f"Argilla runs at {url}")
    demo.run("label", "push")
    print(f"\n$ python curator.py --url {url} --user {CURATOR}    # a SCRIPT plays the curator in this demo", flush=True)
    environment = demo.environment | {"CURATOR_PASSWORD": login(demo.folder, CURATOR)}
    command = [sys.executable, str(HERE / "curator.py"), "--url", url, "--user", CURATOR]
    subprocess.run(command, env=environment, check=True)
    demo.run("label", "pull")
    return url


def login(folder: Path, user: str) -> str:
    """First password of a user of the embedded Argilla."""
    lines = (folder / ".groundmill/argilla/logins.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{user} "))


def main() -> None:
    """The loop, then its story."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Run the whole loop on the demo help centre.")
    parser.add_argument("--dir", type=Path, default=HERE.parents[1] / "demo", help="folder to work in [default: demo]")
    parser.add_argument("--fresh", action="store_true", help="start over in an empty folder")
    options = parser.parse_args()
    folder: Path = options.dir.absolute()
    demo = Demo(folder)
    if options.fresh and (folder / "factory.toml").exists():
        subprocess.run([FACTORY, "label", "stop"], cwd=folder, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)
    prepare(folder)

    demo.title("Import what production logged")
    demo.run("import", "logs/helpdesk.jsonl", "--source", "pedalport-helpdesk")
    demo.title("Mine the answers that were bad although the context was good")
    demo.run("mine")
    flagged = demo.ask("findings", "list", "--failure", "unfaithful", "--limit", "1")
    if flagged:
        demo.run("findings", "show", flagged[0]["record_id"])
    demo.title("Review in Argilla")
    url = review(demo)
    demo.title("Build, train, prove")
    code = demo.run("retrain", "--if-due", allowed=(0, 5))
    adapters = demo.ask("adapters", "list")
    champion = demo.ask("status")["champion"]
    if code == 0 and champion is None and adapters:
        demo.title("A person approves what passed the gate")
        demo.run("approve", adapters[-1]["adapter_id"], "--by", "demo-user", "--note", "the gate passed")
    demo.title("What happened")
    story(demo, url)


def story(demo: Demo, url: str) -> None:
    """The loop in a few sentences with its numbers, and where to click."""
    raise NotImplementedError


if __name__ == "__main__":
    main()
