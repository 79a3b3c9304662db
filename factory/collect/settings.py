"""`[collect]`: where the collector listens, and how much it takes in."""

from pydantic import Field

from logs_schema.settings import Section


class CollectSettings(Section):
    """`[collect]`: the endpoint to which applications export their spans (`factory collect`)."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; beyond this machine only with a token."""
    port: int = Field(default=4318, ge=0, le=65535)
    """Port to listen on; 4318 is OTLP's own, 0 takes any free one."""
    token_env: str = Field(default="FACTORY_COLLECT_TOKEN", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the bearer token; the token itself never stands in a file."""
    max_request_mib: int = Field(default=16, ge=1, le=512)
    """MiB of one request at the most, as it comes and after decompression."""
    max_waiting_mib: int = Field(default=64, ge=1, le=65536)
    """MiB of requests that are being read or wait for the store at the most; what comes then is answered 503."""
    read_seconds: float = Field(default=30.0, gt=0, le=3600)
    """A request must have arrived whole within this time."""
