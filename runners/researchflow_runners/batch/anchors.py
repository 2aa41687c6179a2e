"""Anchors as people keep them: listed, described, pinned by name, given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from researchflow_runners.composed.stored import composed_views, leaves
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import is_pin_name
from researchflow_runners.store.anchor import AsOf, pin_unknown, resolve_anchor
from researchflow_runners.store.content import Content, joint_hash
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.former import release_former, views_at
from researchflow_runners.store.locks import lock_anchors
from researchflow_runners.store.missing import missing_at

LIST_MAX = 1_000
PINS_MAX = 1_000

_INFO = """
SELECT a.anchor, a.data_as_of, a.committed_at, a.changed, a.expired_at,
       coalesce((SELECT array_agg(p.name ORDER BY p.name) FROM researchflow.pin AS p
                 WHERE p.anchor = a.anchor), '{}') AS pins
FROM researchflow.anchor AS a
"""
_LIST = f"{_INFO} ORDER BY a.anchor DESC LIMIT $1"
_IS_PINNED = "a.anchor IN (SELECT anchor FROM researchflow.pin)"
_LIST_PINNED = f"{_INFO} WHERE {_IS_PINNED} ORDER BY a.anchor DESC LIMIT $1"
_ONE = f"{_INFO} WHERE a.anchor = $1"
#: A view's hash holds from its anchor to the view's next one.
_CONTENTS = """
SELECT DISTINCT ON (view_name) view_name, digest, row_count, sums, anchor
FROM researchflow.content WHERE view_name = ANY ($2::text[]) AND anchor <= $1
ORDER BY view_name, anchor DESC
"""
_PIN = "INSERT INTO researchflow.pin (name, anchor) VALUES ($1, $2)"
_PINNED = "SELECT anchor FROM researchflow.pin WHERE name = $1"
_COUNT = "SELECT count(*) FROM researchflow.pin"
_UNPIN = "DELETE FROM researchflow.pin WHERE name = $1 RETURNING anchor"
#: What the pin kept must be looked at again.
_LOOK_AGAIN = "UPDATE researchflow.retention SET pruned_to = 0"


@dataclass(frozen=True, slots=True)
class AnchorInfo:
    """One anchor as lists show it; `expired_at` is set when its rows were given up."""

    anchor: int
    data_as_of: datetime
    committed_at: datetime
    changed: int
    expired_at: datetime | None
    pins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewContent:
    """What a view holds at an anchor; `content_hash` is None when no refresh has hashed it.

    The hash of a composed view covers its definition and the content of the views it reads.
    `missing` counts the resources without rows because they could not be computed; None when the
    release that published the anchor did not keep that.
    """

    view: str
    digest: str
    rows: int | None
    content_hash: str | None
    missing: int | None
    is_composed: bool = False


@dataclass(frozen=True, slots=True)
class AnchorContent:
    """An anchor with its views; `content_hash` covers all that are materialised.

    It is None when one of them has none.
    """

    info: AnchorInfo
    content_hash: str | None
    views: tuple[ViewContent, ...]


async def list_anchors(
    session: Session, *, limit: int = LIST_MAX, only_pinned: bool = False
) -> list[AnchorInfo]:
    """The newest anchors first, at most LIST_MAX."""
    statement = _LIST_PINNED if only_pinned else _LIST
    rows = await session.fetch(statement, max(0, min(limit, LIST_MAX)))
    return [_info(row) for row in rows]


async def describe_anchor(session: Session, as_of: AsOf) -> AnchorContent:
    """The anchor of a number, a pin or an instant; FreshnessError when it cannot be read.

    In one snapshot: call it in a REPEATABLE READ transaction.
    """
    anchor = (await resolve_anchor(session, as_of)).anchor
    row = await session.fetchrow(_ONE, anchor)
    views = await contents_at(session, anchor)
    hashes = [(one.view, one.digest, one.content_hash) for one in views]
    told = [(name, digest, found) for name, digest, found in hashes if found is not None]
    joint = joint_hash(told) if len(told) == len(hashes) else None
    return AnchorContent(_info(row), joint, (*views, *await _composed(session, anchor, views)))


async def contents_at(session: Session, anchor: int) -> tuple[ViewContent, ...]:
    """The materialised views that can be read at an anchor, by name."""
    views = await views_at(session, anchor)
    known = {row[0]: row for row in await session.fetch(_CONTENTS, anchor, list(views))}
    found = []
    for name, view in views.items():
        row = known.get(name)
        content = None
        if row is not None and row["digest"] == view.digest and row["anchor"] >= view.since_anchor:
            content = Content.from_state(row["row_count"], row["sums"])
        found.append(
            ViewContent(
                name,
                view.digest,
                content.rows if content else None,
                content.hash if content else None,
                await missing_at(session, [name], anchor),
            )
        )
    return tuple(found)


async def pin_anchor(warehouse: Database, name: str, as_of: AsOf) -> AnchorInfo:
    """Gives an anchor a name, and keeps its rows until the name is taken away.

    Naming the same anchor again changes nothing. QueryError `pin_name_invalid`, `pin_exists`
    (another anchor has the name) or `too_many_pins`; FreshnessError as of `resolve_anchor`.
    """
    if not is_pin_name(name):
        hint = "begin with a letter, then letters, digits, dots, dashes, underscores; at most 64"
        raise _refused("pin_name_invalid", "the name is not one that a pin can have", hint)
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        anchor = (await resolve_anchor(session, as_of)).anchor
        held = await session.fetchval(_PINNED, name)
        if held not in (None, anchor):
            message = f'the name "{name}" is that of anchor "{held}"'
            raise _refused(
                "pin_exists", message, "choose another name: what is cited must not move"
            )
        if held is None:
            if await session.fetchval(_COUNT) >= PINS_MAX:
                hint = "unpin what is no longer cited"
                raise _refused("too_many_pins", f'there are "{PINS_MAX}" pins already', hint)
            await session.execute(_PIN, name, anchor)
        return _info(await session.fetchrow(_ONE, anchor))


async def unpin(warehouse: Database, name: str) -> int:
    """Takes a name away; gives its anchor, which retention now judges like any other.

    FreshnessError `pin_unknown`.
    """
    async with warehouse.transaction() as session:
        await lock_anchors(session)
        anchor = await session.fetchval(_UNPIN, name) if is_pin_name(name) else None
        if anchor is None:
            raise await pin_unknown(session, name, field="name")
        await session.execute(_LOOK_AGAIN)
        await release_former(session)
        return int(anchor)


async def _composed(
    session: Session, anchor: int, views: tuple[ViewContent, ...]
) -> list[ViewContent]:
    """The composed views all of whose rows can be told from these."""
    hashes = {one.view: (one.view, one.digest, one.content_hash or "") for one in views}
    composed = await composed_views(session)
    found = []
    for name, view in composed.items():
        read = leaves([name], composed)
        if view.fault is None and all(leaf in hashes for leaf in read):
            told = all(hashes[leaf][2] for leaf in read)
            below = [(one, composed[one].digest, "") for one in _below(name, composed)]
            joint = joint_hash([*below, *(hashes[leaf] for leaf in read)])
            content_hash = joint if told else None
            missing = await missing_at(session, read, anchor)
            found.append(ViewContent(name, view.digest, None, content_hash, missing, True))
    return found


def _below(name: str, composed: Mapping[str, ComposedView]) -> tuple[str, ...]:
    """The composed view itself and those it reads, directly or not."""
    found: dict[str, None] = {}
    pending = [name]
    while pending:
        one = pending.pop()
        if one in composed and one not in found:
            found[one] = None
            pending.extend(composed[one].depends_on.values())
    return tuple(found)


def _info(row: asyncpg.Record | None) -> AnchorInfo:
    assert row is not None
    return AnchorInfo(**{**dict(row), "pins": tuple(row["pins"])})


def _refused(code: str, message: str, hint: str) -> QueryError:
    return QueryError(message, code=code, hint=hint, field="name")
