"""The store's secret key: what it hashes cannot be guessed by those who do not have the store."""

import hashlib
import hmac
import secrets

from sqlalchemy import Connection, Engine, Table, select

from logs_schema.database import writing
from logs_schema.rows import put
from logs_schema.tables import Secret

SECRET: Table = Secret.__table__  # type: ignore[attr-defined]
KEY = "key"


def store_key(engine: Engine) -> bytes:
    """The store's key of 32 bytes, made at its first use."""
    with writing(engine) as connection:
        return store_key_in(connection)


def store_key_in(connection: Connection) -> bytes:
    """As `store_key`, in the caller's writing transaction."""
    wanted = select(SECRET.c.value).where(SECRET.c.name == KEY)
    known = connection.scalar(wanted)
    if known is None:
        put(connection, SECRET, [{"name": KEY, "value": secrets.token_hex(32)}], replace=False)
        known = connection.scalar(wanted)
    return bytes.fromhex(str(known))


def keyed(key: bytes, *parts: str) -> bytes:
    """Keyed hash of some texts, in order: HMAC-SHA-256."""
    return hmac.digest(key, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)
