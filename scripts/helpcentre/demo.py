"""The demo: the whole loop of the factory on the help centre's logs, by the commands that people type.

Run by `scripts/demo`. It goes on where it was stopped; a second run does what is left and trains nothing anew.
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
        self.environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}

    def title(self, text: str) -> None:
        """A heading with the minutes since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"\n━━ {text} ━━ {minutes}:{seconds:02d}", flush=True)

    def run(self, *words: str, allowed: tuple[int, ...] = (0,)) -> int:
        """Run `factory WORDS…`, shown as it is typed; any other exit code ends the demo."""
        print(f"\n$ factory {' '.join(words)}", flush=True)
        code = subprocess.run([FACTORY, *words], cwd=self.folder, env=self.environment, check=False).returncode
        if code not in allowed:
            raise SystemExit(
                f"demo: `factory {' '.join(words)}` ended with exit code {code}; mend that, run this again."
            )
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
    before = demo.ask("label", "status")
    if before["problem"]:
        demo.run("label", "serve", "--background")
    url = str(before["target"].split(" ", 1)[0])
    demo.run("label", "push")
    print(f"\n$ python curator.py --url {url} --user {CURATOR}   # in this demo, a SCRIPT is the curator", flush=True)
    environment = demo.environment | {"CURATOR_PASSWORD": login(demo.folder, CURATOR)}
    command = [sys.executable, str(HERE / "curator.py"), "--url", url, "--user", CURATOR]
    subprocess.run(command, env=environment, check=True)
    demo.run("label", "pull")
    return url


def login(folder: Path, user: str) -> str:
    """First password of a user of the embedded Argilla."""
    lines = (folder / ".groundmill/argilla/logins.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{user} "))


def story(demo: Demo, url: str, adapter: str) -> None:
    """The loop in a few sentences with its numbers, and where to click."""
    logs = demo.ask("logs", "stats")
    status = demo.ask("status")
    shown = demo.ask("adapters", "show", adapter)
    training, evaluation = shown["training"], shown["evaluation"]
    record = demo.ask("findings", "list", "--limit", "1")["findings"][0]["record_id"]
    flagged = sum(status["findings"].values())
    print(f"""
Production answered {logs["records"]} questions. The miner flagged {flagged} answers: {said(status["findings"])}.
The scripted curator reviewed {status["reviews"]} records in Argilla; {sum(training["rows"].values())} rows
taught adapter {adapter}: {said(training["rows"])}.
On {evaluation["rows"]} held-out questions ({evaluation["answerable"]} answerable, {evaluation["unanswerable"]} not; {
        evaluation["audit_rows"]
    } from the random audit slice), {evaluation["confidence"]:.0%} intervals:
""")
    print(f"  {'':<24}{'balanced abstention':>22}{'answer F1':>22}{'false refusals':>22}")
    for rung in evaluation["rungs"]:
        cells = "".join(
            f"{figure(rung['figures'][name]):>22}" for name in ("balanced_abstention", "answer_f1", "false_refusal")
        )
        print(f"  {rung['rung']:<24}{cells}")
    gate = "passed it" if shown["gate_passed"] else f"refused it ({', '.join(shown['failed_checks'])})"
    now = f"adapter {status['champion']}" if status["champion"] else "the plain base model"
    print(f"""
The gate {gate}. What production should run now: {now}.

Where to look
  labeling page   {url}   user you, password {login(demo.folder, "you")}
  adapter         {shown["adapter"]["path"]}/README.md
  each answer     {evaluation["path"]}
  one record      cd {demo.folder} && {FACTORY} trace {record}
  stop Argilla    cd {demo.folder} && {FACTORY} label stop""")


def said(counts: dict[str, int]) -> str:
    """`3 unfaithful, 2 incomplete`."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def figure(measured: dict[str, Any]) -> str:
    """A value with its interval."""
    if measured["value"] is None:
        return "-"
    if measured["low"] is None:
        return f"{measured['value']:.2f}"
    return f"{measured['value']:.2f} [{measured['low']:.2f}, {measured['high']:.2f}]"


def main() -> None:
    """The loop, then its story."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Run the whole loop on the demo help centre.")
    parser.add_argument("--dir", type=Path, default=HERE.parents[1] / "demo", help="folder to work in [default: demo]")
    parser.add_argument("--fresh", action="store_true", help="start over in an empty folder")
    options = parser.parse_args()
    folder: Path = options.dir.absolute()
    demo = Demo(folder)
    if options.fresh and (folder / "factory.toml").exists():
        demo.run("label", "stop")
        shutil.rmtree(folder)
    prepare(folder)

    demo.title("Import what production logged")
    demo.run("import", "logs/helpdesk.jsonl", "--source", "pedalport-helpdesk")
    demo.title("Mine the answers that were bad although the context was good")
    demo.run("mine")
    demo.run(
        "findings",
        "show",
        demo.ask("findings", "list", "--failure", "unfaithful", "--limit", "1")["findings"][0]["record_id"],
    )
    demo.title("Review in Argilla")
    url = review(demo)
    demo.title("Build, train, prove")
    demo.run("retrain", "--if-due", allowed=(0, 5))
    adapter = demo.ask("adapters", "list")["adapters"][0]
    if adapter["state"] == "gate passed":
        demo.title("A person approves what passed the gate")
        demo.run("approve", adapter["adapter_id"], "--by", "demo-user", "--note", "the gate passed it")
    demo.title("What happened")
    story(demo, url, adapter["adapter_id"])


if __name__ == "__main__":
    main()
