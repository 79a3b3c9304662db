"""What the collector answers instead of taking a request, as the OTLP specification asks."""

from http import HTTPStatus

RPC_CODES = {400: 3, 401: 16, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 500: 13, 503: 14}
"""google.rpc.Code of each HTTP status."""
RETRY_SECONDS = 2
"""What `Retry-After` says; exporters wait longer from one time to the next by themselves."""


class Refusal(Exception):
    """A request that is not taken. 503 means that the sender may try again, every other status that it must not."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        return {
            HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
            HTTPStatus.REQUEST_TIMEOUT: {"Connection": "close"},
            HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_SECONDS)},
        }.get(self.status, {})
