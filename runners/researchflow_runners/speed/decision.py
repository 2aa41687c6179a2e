"""What a change comes to, given what every layer knows. Pure: asks nobody, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from researchflow_runners.errors import SourceDataError
from researchflow_runners.speed.change import Change, Outcome
from researchflow_runners.speed.entry import ORIGINS, Draft, Origin
from researchflow_runners.speed.known import Key, Known
from researchflow_runners.speed.resource import (
    check_id,
    check_size,
    check_type,
    check_version,
    parse_resource,
)
from researchflow_runners.speed.source_states import Confirmed

_RANKS = {origin: rank for rank, origin in enumerate(ORIGINS)}


@dataclass(frozen=True, slots=True)
class Checked:
    """A well-formed change; `version` is None when it is to follow the newest known."""

    key: Key
    version: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What would be written and with what outcome; only `stored` needs writing.

    `follows`: the version was made up here, so another one will do when it is taken.
    `conflict`: the version is known with another content.
    """

    draft: Draft
    outcome: Outcome
    newest_version: int
    follows: bool
    conflict: bool = False


def check(change: Change) -> Checked:
    """The change, well-formed; SourceDataError as from `parse_resource`."""
    version = None if change.version is None else check_version(change.version)
    if change.resource is None:
        key = (check_type(change.resource_type), check_id(change.resource_id))
        return Checked(key, version, None)
    parsed = parse_resource(
        change.resource, resource_type=change.resource_type, resource_id=change.resource_id
    )
    key = (parsed.resource_type, parsed.resource_id)
    return Checked(key, parsed.version if version is None else version, parsed.text)


def decide(
    checked: Checked,
    *,
    known: Known,
    confirmed: Confirmed | None,
    earlier: Sequence[Decision],
    provenance: str,
    ttl_s: float,
    origin: Literal["reported", "provisional"] = "provisional",
) -> Decision:
    """What becomes of one change; `earlier` are those of the same resource before it.

    `origin` is what it is as long as the source does not confirm it.
    SourceDataError `resource_unknown` for a delete of what nobody knows.
    """
    newest_version = max(
        known.newest_version if origin == "provisional" else known.told_version,
        confirmed.version if confirmed else 0,
        *(one.draft.version for one in earlier),
    )
    draft = _draft(
        checked,
        version=checked.version or _following(checked, known, newest_version, origin),
        confirmed=confirmed,
        origin=origin,
        provenance=provenance,
        ttl_s=ttl_s,
    )
    if draft.origin == "source":
        known = known.of_incarnation(draft.incarnation)
        newest_version = max(known.newest_version, draft.version)
    outcome = _outcome(draft, known, earlier)
    if checked.version is None and _is_deleted_already(checked, known, newest_version):
        outcome = "covered"
    return Decision(
        draft,
        outcome,
        newest_version,
        follows=checked.version is None,
        conflict=outcome == "duplicate" and not _is_repeat(draft, known, earlier),
    )


def _is_repeat(draft: Draft, known: Known, earlier: Sequence[Decision]) -> bool:
    """Whether the content known of the draft's version is the draft's own."""
    contents = [
        one.draft.text
        for one in earlier
        if one.outcome == "stored" and one.draft.version == draft.version
    ]
    if known.overlay_version == draft.version:
        contents.append(known.overlay_text)
    return all(same_content(draft.text, content) for content in contents)


def same_content(one: str | None, other: str | None) -> bool:
    """Whether two resources say the same, however they are written; None is a deletion."""
    if one is None or other is None:
        return one is other
    return one == other or _read(one) == _read(other)


def _read(text: str) -> object:
    """The JSON; numbers keep their digits, because 1.0 and 1.00 are two measurements."""
    return json.loads(text, parse_float=str)


def _following(checked: Checked, known: Known, newest_version: int, origin: Origin) -> int:
    """The version of a change that brings none: a repeat of the newest keeps that one's."""
    if checked.text is None and newest_version == 0:
        raise SourceDataError(
            f'"{"/".join(checked.key)}" is not known, so it cannot be deleted',
            code="resource_unknown",
            hint="check type and id, or pass the version that the source deleted",
            field="id",
        )
    repeats = (
        known.overlay_version == newest_version
        and known.overlay_text == checked.text
        and known.overlay_deleted == (checked.text is None)
    )
    if origin == "reported" and checked.text is None and known.reported_deleted:
        repeats = known.reported_version == newest_version
    return newest_version if repeats and newest_version else newest_version + 1


def of_source(
    key: Key, state: Confirmed | None, *, known: Known, provenance: str
) -> Decision | None:
    """What becomes of what the source has under the key, or of its having nothing there.

    None when there is nothing to write: nobody knew the resource, or knew it as deleted.
    SourceDataError `resource_too_large`, `resource_unreadable`.
    """
    if state is None:
        return _gone(key, known, provenance)
    if not state.deleted and state.text is None:
        raise SourceDataError(
            f'the source\'s version {state.version} of "{"/".join(key)}" cannot be read',
            code="resource_unreadable",
            hint="see what the FHIR server gives for it; a refresh names it as a dead letter",
        )
    draft = _state_draft(key, state, provenance)
    known = known.of_incarnation(state.res_id)
    newest_version = max(known.newest_version, draft.version)
    return Decision(draft, _outcome(draft, known, ()), newest_version, follows=False)


def _gone(key: Key, known: Known, provenance: str) -> Decision | None:
    """A deletion after the newest version of what the source held and has no more."""
    incarnation = known.source_incarnation or known.ledger_res_id
    known = known.of_incarnation(incarnation)
    if known.source_version > known.ledger_version:
        is_shown = not known.source_deleted
    else:
        is_shown = known.ledger_version > 0 and not known.ledger_deleted
    if not is_shown:
        return None
    version = max(known.source_version, known.ledger_version) + 1
    draft = _source_draft(key, version, None, incarnation=incarnation, provenance=provenance)
    return Decision(draft, "stored", version, follows=True)


def _state_draft(key: Key, state: Confirmed, provenance: str) -> Draft:
    """The source's state as an entry; SourceDataError `resource_too_large`."""
    text = None if state.deleted else state.text
    if text is not None:
        check_size(len(text.encode()))
    return _source_draft(key, state.version, text, incarnation=state.res_id, provenance=provenance)


def _source_draft(
    key: Key, version: int, text: str | None, *, incarnation: int | None, provenance: str
) -> Draft:
    resource_type, resource_id = key
    return Draft(
        resource_type=resource_type,
        resource_id=resource_id,
        version=version,
        text=text,
        origin="source",
        provenance=provenance,
        ttl_s=None,
        incarnation=incarnation,
    )


def _draft(
    checked: Checked,
    *,
    version: int,
    confirmed: Confirmed | None,
    origin: Origin,
    provenance: str,
    ttl_s: float,
) -> Draft:
    """The source's own state when it has reached the version, else the caller's."""
    at_source = (
        confirmed is not None
        and checked.version is not None
        and confirmed.version >= version
        and (confirmed.deleted or confirmed.text is not None)
    )
    if at_source and confirmed is not None:
        return _state_draft(checked.key, confirmed, provenance)
    resource_type, resource_id = checked.key
    return Draft(
        resource_type=resource_type,
        resource_id=resource_id,
        version=check_version(version),
        text=checked.text,
        origin=origin,
        provenance=provenance,
        ttl_s=ttl_s,
        incarnation=confirmed.res_id if confirmed else None,
    )


def _outcome(draft: Draft, known: Known, earlier: Sequence[Decision]) -> Outcome:
    """Compares with what outranks the draft: a lesser origin never outranks a greater."""
    if draft.version <= known.ledger_version:
        return "covered"
    versions = [one.draft.version for one in earlier if one.outcome == "stored"
                and _RANKS[one.draft.origin] <= _RANKS[draft.origin]]  # fmt: skip
    versions.append(known.source_version)
    if draft.origin == "reported":
        versions.append(known.reported_version)
    elif draft.origin == "provisional":
        versions.append(known.overlay_version)
    if draft.version in versions:
        return "duplicate"
    return "stale" if any(draft.version < version for version in versions) else "stored"


def _is_deleted_already(checked: Checked, known: Known, newest_version: int) -> bool:
    deleted_versions = (
        known.ledger_version if known.ledger_deleted else 0,
        known.source_version if known.source_deleted else 0,
    )
    return checked.text is None and newest_version in deleted_versions


def keys_to_confirm(checked: Sequence[Checked]) -> Mapping[Key, int]:
    """The lowest version that each resource's changes bring; 0 where none brings one."""
    wanted: dict[Key, int] = {}
    for one in checked:
        version = one.version or 0
        held = wanted.get(one.key, 0)
        wanted[one.key] = min(held, version) if held and version else max(held, version)
    return wanted
