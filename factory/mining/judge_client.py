"""Asking an OpenAI-compatible endpoint: retries, a budget for the whole run, and no surprise about what it costs."""

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from factory.mining.settings import JudgeSettings
from logs_schema.errors import ConfigurationError, FactoryError, NotReadyError
from logs_schema.visible import visible

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
R = TypeVar("R")

UNREACHED = 0
"""In the place of a status: nothing was sent, because nobody was there."""
BUSY = frozenset({UNREACHED, 408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers that are worth another try."""
REFUSED = frozenset({400, 413, 422})
"""Answers that are about this one request, such as one that is too long; or about the way of asking."""
LONGEST_WAIT = 120.0
"""Seconds that a Retry-After may ask for; one that asks for more ends the run's questions."""
LARGEST_REPLY = 1 << 20
"""Bytes of a reply that are read."""
SILENT = 3
"""Records in a row without an answer after which the endpoint counts as down."""
ALL_REFUSED = 5
"""Records in a row that are refused, before any was answered, after which the way of asking is at fault."""
FORMATS = ("json_schema", "json_object", "none")
"""How structured output is asked for; the next one is tried when an endpoint does not know it."""


class Reply(NamedTuple):
    """What the endpoint said to one record: a text, or why there is none."""

    text: str | None
    tokens: int = 0
    pending: str | None = None
    """Why it was not asked, or did not answer: to be asked again in the next run."""


class Client:
    """Asks within the limits of one run, inside `with`. It may be used by several threads.

    Args:
        settings: Endpoint and limits.
        key: Sent as a bearer token; nothing is sent when None.
        schema: JSON schema of the reply.
    """

    def __init__(self, settings: JudgeSettings, key: str | None, schema: dict[str, Any]) -> None:
        try:
            import httpx
        except ImportError as error:
            raise NotReadyError(
                "[mining.judge] needs httpx: run pip install 'groundmill[judge]', or leave base_url empty."
            ) from error
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._open = partial(httpx.Client, timeout=settings.timeout_seconds, headers=headers)
        self._http: httpx.Client | None = None
        self._url = settings.base_url.rstrip("/") + "/chat/completions"
        self._settings = settings
        self._schema = schema
        self._lock = threading.Lock()
        self._requests = self._tokens = self._silent = self._refused = self._answered = 0
        self._format = 0
        self._stopped: str | None = None
        self._closed = threading.Event()

    def __enter__(self) -> "Client":
        """Open connections; limits and what was spent stay those of the whole run."""
        self._http = self._open()
        self._closed.clear()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them: what is still waiting for another try gives up."""
        self._closed.set()
        if self._http:
            self._http.close()

    def spent(self) -> dict[str, int]:
        """Requests and tokens so far."""
        return {"requests": self._requests, "tokens": self._tokens}

    def ask(self, system: str, user: str) -> Reply:
        """One answer, after as many tries as the settings allow.

        Raises:
            ConfigurationError: the endpoint refuses the key, the model, or every request.
        """
        guess = len((system + user).encode()) // 3 + self._settings.max_output_tokens
        tried = 0
        reason = ""
        while tried <= self._settings.retries and not self._closed.is_set():
            refused = self._take(guess)
            if refused:
                return Reply(None, pending=refused)
            mode = self._format
            status, body, wait = self._post(self._body(system, user, FORMATS[mode]))
            if status == 200:
                return self._answer(body, guess)
            if status is not None:  # what became of the others, and what they cost, is not known
                self._give_back(guess)
            if status in REFUSED:
                if self._other_format(mode):
                    continue
                return self._refuse(status, body)
            if status is not None and status not in BUSY:
                raise ConfigurationError(
                    f"[mining.judge] {self._url} answers HTTP {status} ({_said(body)}): look at base_url, model, and "
                    "$FACTORY_JUDGE_API_KEY."
                )
            reason = f"HTTP {status}" if status else body.decode()
            tried += 1
            if wait is not None and wait > LONGEST_WAIT:
                return Reply(None, pending=self._stop(f"the judge asks to wait for {wait:.0f} s"))
            if tried <= self._settings.retries:
                self._closed.wait(wait if wait is not None else min(2.0**tried, 30) * random.uniform(0.25, 0.5))
        with self._lock:
            self._silent += 1
            if self._silent >= SILENT:
                self._stopped = f"the judge does not answer ({reason})"
        return Reply(None, pending=f"the judge does not answer ({reason})")

    def _body(self, system: str, user: str, mode: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": 0,
            "max_tokens": self._settings.max_output_tokens,
        }
        if mode == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": self._schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _post(self, body: dict[str, Any]) -> tuple[int | None, bytes, float | None]:
        """Status, body, and for how long to wait; no status and the reason, when there was no whole answer."""
        import httpx

        read = bytearray()
        assert self._http is not None
        try:
            with self._http.stream("POST", self._url, json=body) as response:
                for part in response.iter_bytes():
                    read += part
                    if len(read) > LARGEST_REPLY:
                        return None, b"its answer is far too long", None
                return response.status_code, bytes(read), _wait(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return UNREACHED, type(error).__name__.encode(), None
        except (httpx.TransportError, httpx.DecodingError) as error:
            return None, type(error).__name__.encode(), None
        except RuntimeError:  # another thread's error ended the run before this one could ask
            if not self._closed.is_set():
                raise
            return None, b"the run has ended", None

    def _take(self, guess: int) -> str | None:
        """Count a request in; or why there may be none."""
        limits = self._settings
        with self._lock:
            if self._stopped is None and self._requests >= limits.max_requests:
                self._stopped = f"[mining.judge] max_requests = {limits.max_requests} is reached"
            if self._stopped is None and self._tokens + guess > limits.max_tokens:
                self._stopped = f"[mining.judge] max_tokens = {limits.max_tokens} is reached"
            if self._stopped is None:
                self._requests += 1
                self._tokens += guess
            return self._stopped

    def _give_back(self, guess: int) -> None:
        with self._lock:
            self._tokens -= guess

    def _stop(self, reason: str) -> str:
        with self._lock:
            self._stopped = self._stopped or reason
            return self._stopped

    def _answer(self, body: bytes, guess: int) -> Reply:
        """The text of an answer, "" when it has another form; what it cost takes the place of the guess."""
        text, cost = "", guess
        try:
            answer = json.loads(body)
            text = answer["choices"][0]["message"]["content"] or ""
            cost = int((answer.get("usage") or {}).get("total_tokens", guess))
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
        with self._lock:
            self._tokens += max(cost, 0) - guess
            self._silent = 0
            self._answered += 1
        return Reply(text if isinstance(text, str) else "", cost)

    def _other_format(self, mode: int) -> bool:
        """Whether to ask again in a simpler way: never once one has worked."""
        with self._lock:
            if self._answered == 0 and self._format == mode and mode + 1 < len(FORMATS):
                self._format = mode + 1
            return self._format != mode

    def _refuse(self, status: int | None, body: bytes) -> Reply:
        with self._lock:
            self._refused += 1
            if self._answered == 0 and self._refused >= ALL_REFUSED:
                raise ConfigurationError(
                    f"[mining.judge] {self._url} refuses every request with HTTP {status} ({_said(body)}): look at "
                    "base_url and model."
                )
        return Reply("")


def in_threads(items: Sequence[T], work: Callable[[T], R], threads: int) -> Iterator[tuple[T, R]]:
    """Each item with what `work` made of it, as they are done. The threads do not outlive the process.

    Raises:
        FactoryError: from `work`.
    """
    todo: SimpleQueue[T] = SimpleQueue()
    done: SimpleQueue[tuple[T, R | FactoryError | None]] = SimpleQueue()
    for item in items:
        todo.put(item)

    def run() -> None:
        with suppress(Empty):
            while True:
                item = todo.get_nowait()
                result: R | FactoryError | None = None
                try:
                    result = work(item)
                except FactoryError as error:
                    result = error
                finally:
                    done.put((item, result))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    for _ in items:
        item, result = done.get()
        if isinstance(result, FactoryError):
            raise result
        if result is None:
            raise RuntimeError("a thread of the judge ended on the error above")
        yield item, result


def _wait(response: "httpx.Response") -> float | None:
    """Seconds that Retry-After asks for, given as seconds or as a date."""
    asked = response.headers.get("retry-after", "").strip()
    if not asked:
        return None
    try:
        return max(float(asked), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(asked)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _said(body: bytes) -> str:
    return visible(" ".join(body[:300].decode(errors="replace").split())) or "without a word"
