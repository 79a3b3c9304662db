"""Answers kept on disk as they are made, so that nothing is generated twice and a killed run goes on."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from logs_schema.files import write_atomic
from logs_schema.records import Message, content_hash


class AnswerCache:
    """Answers of one model under one way of answering: a JSON line a prompt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = {}
        held = path.read_bytes() if path.is_file() else b""
        lines = held.splitlines()
        whole: list[bytes] = []
        for line in lines:
            try:
                entry = json.loads(line)
                self.known[entry["prompt"]] = entry["answer"]
            except (ValueError, KeyError, TypeError):
                continue
            whole.append(line)
        if len(whole) < len(lines) or held[-1:] not in {b"", b"\n"}:  # the last line of a killed run
            write_atomic(path, b"".join(line + b"\n" for line in whole))

    def get(self, prompt: Sequence[Message]) -> str | None:
        """The answer to a prompt, if it was made before."""
        return self.known.get(prompt_key(prompt))

    def add(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> None:
        """Append the answers to some prompts; they are on disk when this returns."""
        new = {prompt_key(prompt): answer for prompt, answer in pairs}
        lines = [
            json.dumps({"prompt": key, "answer": answer}, ensure_ascii=False)
            for key, answer in new.items()
            if key not in self.known
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="surrogatepass") as stream:
            stream.write("".join(line + "\n" for line in lines))
            stream.flush()
            os.fsync(stream.fileno())
        self.known |= new


def prompt_key(prompt: Sequence[Message]) -> str:
    """Identity of a conversation: 16 hexadecimal digits."""
    return content_hash([message.model_dump() for message in prompt])


def forget_answers(folder: Path, keys: Collection[str]) -> int:
    """Take the answers to some prompts (by `prompt_key`) out of every cache under a folder; how many there were."""
    removed = 0
    for file in sorted(folder.rglob("*.jsonl")) if keys else ():
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _key_of(line) not in keys]
        if len(kept) < len(lines):
            removed += len(lines) - len(kept)
            write_atomic(file, b"".join(kept))
    return removed


def _key_of(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    key = entry.get("prompt") if isinstance(entry, dict) else None
    return key if isinstance(key, str) else None
