"""Committing what requests brought: one transaction for all that wait, and nobody is answered before it is on disk."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from factory.collect.refusal import Refusal
from logs_schema.errors import FactoryError
from logs_schema.importers.batch import Done, save_parsed
from logs_schema.importers.parsed import Parsed
from logs_schema.wording import counted

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""How long a commit waits for another command. What comes meanwhile waits for it and then for as long again: with an
exporter's usual timeout of 10 s, there is an answer in time, and time to send again."""


class Waiting:
    """What one request brought, until it is committed or refused."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.outcome: Literal["committed"] | Refusal | None = None


class Writer:
    """Commits in a thread of its own. Everything else is used by the event loop's thread only."""

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source
        self._waiting: list[Waiting] = []
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="collect-writer")
        self.new = 0
        """Records that were not in the store."""
        self.updated = 0
        """Times that a record's content changed, feedback included."""
        self.forgotten = 0
        """Times that something came of a forgotten trace, and was left out."""

    async def save(self, parsed: Parsed) -> None:
        """Return when the store has committed it.

        Whoever's turn it is commits for all that wait.

        Raises:
            Refusal: the store cannot take it now, or not at all.
        """
        mine = Waiting(parsed)
        self._waiting.append(mine)
        async with self._turn:
            if mine.outcome is None:
                await self._commit_all(mine)
        if isinstance(mine.outcome, Refusal):
            raise mine.outcome

    async def _commit_all(self, mine: Waiting) -> None:
        group, self._waiting = self._waiting, []
        try:
            outcome = await self._commit(group)
            if isinstance(outcome, Refusal) and outcome.status != HTTPStatus.SERVICE_UNAVAILABLE and len(group) > 1:
                group, others = [mine], [one for one in group if one is not mine]
                self._waiting = others + self._waiting  # one that cannot be stored must not take others with it
                outcome = await self._commit(group)
            for one in group:
                one.outcome = outcome
        finally:
            self._waiting = [one for one in group if one.outcome is None and one is not mine] + self._waiting

    async def _commit(self, group: Sequence[Waiting]) -> Literal["committed"] | Refusal:
        everything = Parsed(
            spans=[span for one in group for span in one.parsed.spans],
            feedback=[event for one in group for event in one.parsed.feedback],
        )
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._thread, self._save, everything)
        except Refusal as refusal:
            logger.warning("%s not stored: %s", counted(len(group), "request was", "requests were"), refusal.__cause__)
            return refusal
        states = list(done.values())
        self.new += states.count("new")
        self.updated += states.count("updated")
        self.forgotten += states.count("forgotten")
        return "committed"

    def _save(self, parsed: Parsed) -> Done:
        try:
            return save_parsed(self._engine, parsed, self._source, patience=PATIENCE_SECONDS)
        except (FactoryError, OperationalError, InterfaceError) as error:  # disk full, another command, server away
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The store cannot be written now.") from error
        except DBAPIError as error:
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "The store refuses the spans.") from error

    def close(self) -> None:
        """Wait for the last commit."""
        self._thread.shutdown()
