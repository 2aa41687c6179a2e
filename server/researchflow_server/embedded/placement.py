"""Where the services' files lie and which account runs PostgreSQL.

PostgreSQL refuses to run as root. Started by root it runs as `postgres` or `nobody`, and both its
programs and its data must then be in places which that account can reach. A checkout below /root
is not; the programs are then copied, and the data put, under ROOT_HOME, with a link left where
they were expected, rather than opening root's directories to everybody.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from researchflow_runners.errors import ServiceError

ROOT_HOME = Path("/var/lib/researchflow")
ROOT_ACCOUNTS = ("postgres", "nobody")
#: sun_path holds 104 bytes on the smallest platform, its closing zero included.
SOCKET_PATH_BYTES_MAX = 103
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Account:
    """The system account that a service runs as."""

    name: str
    uid: int
    gid: int


def service_account() -> Account | None:
    """The account for PostgreSQL; None when that is the one we already are."""
    if os.geteuid() != 0:
        return None
    for name in ROOT_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServiceError(
        "postgresql cannot run as root and none of the accounts "
        f'"{", ".join(ROOT_ACCOUNTS)}" exists',
        code="service_account_missing",
        hint="run as an ordinary user, or create the account postgres",
        field="account",
    )


def is_reachable(path: Path, account: Account | None) -> bool:
    """Whether the account may pass through every directory above `path`."""
    if account is None:
        return True
    return all(_lets_through(parent.stat(), account) for parent in path.resolve().parents)


def _lets_through(found: os.stat_result, account: Account) -> bool:
    needed = stat.S_IXUSR if found.st_uid == account.uid else stat.S_IXOTH
    return bool(found.st_mode & needed)


def prepared(path: Path) -> Path:
    """`path`, with its parents; what is made of them is for one user alone.

    That is the account of PostgreSQL where root makes them: it has to pass, and root may anyway.
    ServiceError `directory_unusable` when it cannot be.
    """
    try:
        _make_private_path(path)
    except OSError as error:
        raise ServiceError(
            f'data directory "{path}" cannot be made: {error.strerror}',
            code="directory_unusable",
            hint="choose a directory that you may write to",
            field="directory",
        ) from error
    return path.resolve()


def _make_private_path(path: Path) -> None:
    account = service_account()
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
    path.mkdir(exist_ok=True)


def cluster_directory(directory: Path, account: Account | None) -> Path:
    """The cluster's directory, made, empty or not, and owned by the account."""
    cluster = directory / "postgres"
    if account is None:
        cluster.mkdir(mode=0o700, exist_ok=True)
        return cluster
    if not cluster.exists() and not is_reachable(cluster, account):
        target = _root_home() / f"postgres-{_digest(directory)}"
        target.mkdir(mode=0o700, exist_ok=True)
        cluster.unlink(missing_ok=True)
        cluster.symlink_to(target)
    cluster.mkdir(mode=0o700, exist_ok=True)
    real = cluster.resolve()
    if real.stat().st_uid != account.uid:
        os.chown(real, account.uid, account.gid)
    real.chmod(0o700)
    return real


def reachable_programs(programs: Path, account: Account | None) -> Path:
    """The PostgreSQL installation, copied to ROOT_HOME when the account cannot reach it."""
    if is_reachable(programs / "bin", account):
        return programs
    copy = ROOT_HOME / f"{programs.name}-{_digest(programs)}"
    if not copy.exists():
        staging = Path(tempfile.mkdtemp(dir=_root_home(), prefix=".copy-"))
        shutil.copytree(programs, staging, dirs_exist_ok=True, symlinks=True)
        staging.chmod(0o755)
        staging.rename(copy)
    return copy


def socket_directory(directory: Path, service: str, account: Account | None) -> Path:
    """A directory for a socket, private to its user, with a path short enough for one."""
    chosen = directory / f"{service}-socket"
    too_long = len(os.fsencode(chosen / LONGEST_SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX
    if too_long or not is_reachable(chosen, account):
        owner = os.geteuid()
        name = f"researchflow-{owner}-{_digest(directory)}-{service}"
        chosen = Path(tempfile.gettempdir()) / name
    chosen.mkdir(mode=0o700, exist_ok=True)
    _make_private(chosen, account)
    return chosen


def _root_home() -> Path:
    """ROOT_HOME, which every account may pass through."""
    home = prepared(ROOT_HOME)
    home.chmod(0o755)
    return home


def _make_private(path: Path, account: Account | None) -> None:
    """Refuses a directory that somebody else put there first."""
    found = path.lstat()
    owners = {os.geteuid(), account.uid if account else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise ServiceError(
            f'socket directory "{path}" belongs to another user',
            code="directory_unusable",
            hint="remove it, or choose another data directory",
            field="directory",
        )
    path.chmod(0o700)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
