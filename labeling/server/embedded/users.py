"""The workspace, the factory's own user, and the curators: made at start when they are not there yet."""

import secrets
from pathlib import Path

from argilla_server.contexts import accounts
from argilla_server.database import AsyncSessionLocal, async_engine
from argilla_server.enums import UserRole
from argilla_server.models import User, Workspace

from .home import kept_secret, write_private

OWNER = "owner"
LOGINS = "logins.txt"


async def ensure(home: Path, workspace: str, curators: list[str]) -> None:
    """Create what is missing. Key and passwords are written before the users, so that no kill loses them."""
    key = kept_secret(home / "owner.key", 60)
    logins = _logins(home / LOGINS, [OWNER, *curators])
    async with AsyncSessionLocal() as db:
        if await Workspace.get_by(db, name=workspace) is None:
            await accounts.create_workspace(db, {"name": workspace})
        place = await Workspace.get_by(db, name=workspace)
        for username in [OWNER, *curators]:
            user = await accounts.get_user_by_username(db, username)
            if user is None:
                role = UserRole.owner if username == OWNER else UserRole.annotator
                attributes = {"first_name": username, "last_name": None, "username": username, "role": role}
                user = await accounts.create_user(db, {**attributes, "password": logins[username]})
            if username == OWNER and user.api_key != key:
                await User.update(user, db, api_key=key)
            if not await user.is_member(place.id):
                await accounts.create_workspace_user(db, {"workspace_id": place.id, "user_id": user.id})
    await async_engine.dispose()  # its connections belong to this event loop, the server has another


def _logins(file: Path, usernames: list[str]) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    logins = dict(line.split(" ", 1) for line in lines if " " in line and not line.startswith("#"))
    new = {name: secrets.token_urlsafe(12) for name in usernames if name not in logins}
    if new:
        head = "# User names and first passwords of the embedded Argilla; who changes a password does so there.\n"
        both = {**logins, **new}
        write_private(file, head + "".join(f"{name} {password}\n" for name, password in both.items()))
    return {**logins, **new}
