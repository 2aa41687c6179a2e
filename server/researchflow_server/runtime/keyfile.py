"""The key that signs cursors, made once and readable by its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.placement import prepared
from researchflow_server.settings import SettingsError

KEY_BYTES = 32


def cursor_key(path: Path) -> bytes:
    """The key in the file, which is made when it is absent; SettingsError when it is not ours."""
    try:
        prepared(path.parent)
        _make(path)
        if path.stat().st_mode & 0o077:
            raise _unusable(path, f"run `chmod 600 {path}`")
        key = path.read_bytes()
    except (OSError, ServiceError) as error:
        raise _unusable(path, "point RESEARCHFLOW_HOME to a folder you can write") from error
    if len(key) != KEY_BYTES:
        raise _unusable(path, "delete it; cursors given out before then end")
    return key


def _make(path: Path) -> None:
    """Writes a new key beside the path and links it there: nobody ever reads half of one."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(handle)
        draft.unlink()


def _unusable(path: Path, hint: str) -> SettingsError:
    return SettingsError(
        f'the cursor key "{path}" cannot be used',
        code="cursor_key_unusable",
        field="RESEARCHFLOW_HOME",
        hint=hint,
    )
