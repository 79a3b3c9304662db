"""What the miner says of one record."""

from pydantic import Field

from logs_schema.records import Value
from logs_schema.scores import Evidence, Scores
from logs_schema.taxonomy import Failure, Route


class Finding(Value):
    """One diagnosis: what is wrong, who can mend it, how sure that is, and why."""

    record_id: str
    failure: Failure
    """The primary one: the first by `taxonomy.PRECEDENCE`."""
    secondary: tuple[Failure, ...] = ()
    """What else holds, by precedence."""
    route: Route
    confidence: float = Field(ge=0, le=1)
    """For ranking the queue, not a probability: 0.9 and more needs a person's word or a plain fact."""
    scores: Scores
    vote: float | None = Field(default=None, ge=-1, le=1)
    """What people said of the answer, -1 (bad) to 1 (good); None when nobody did."""
    evidence: tuple[Evidence, ...] = ()
    why: str
    """One sentence for the curator."""
