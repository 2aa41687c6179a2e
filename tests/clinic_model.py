"""What a clinic must show, computed the slow and plain way from what happened to it.

For each resource the model keeps the newest state of the FHIR server, the state that the last
refresh took from it, and the waiting changes: read from the server, reported of it, or a writer's
own. The newest known version wins; at one version the first of these does. A report leaves when
the server is asked later. Rows are computed from the winners' JSON by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

Key = tuple[str, str]
Row = tuple[Any, ...]
Resource = dict[str, Any]

VIEWS: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "ViewDefinition",
        "name": "people",
        "status": "active",
        "resource": "Patient",
        "where": [{"path": "active.exists().not() or active"}],
        "select": [
            {
                "column": [
                    {"name": "id", "path": "getResourceKey()", "type": "string"},
                    {"name": "gender", "path": "gender", "type": "code"},
                    {"name": "birth_date", "path": "birthDate", "type": "date"},
                ]
            }
        ],
    },
    {
        "resourceType": "ViewDefinition",
        "name": "given_names",
        "status": "active",
        "resource": "Patient",
        "select": [
            {"column": [{"name": "id", "path": "getResourceKey()", "type": "string"}]},
            {
                "forEach": "name.given",
                "column": [{"name": "given", "path": "$this", "type": "string"}],
            },
        ],
    },
    {
        "resourceType": "ViewDefinition",
        "name": "codes",
        "status": "active",
        "resource": "Condition",
        "select": [
            {
                "column": [
                    {"name": "id", "path": "getResourceKey()", "type": "string"},
                    {
                        "name": "patient_id",
                        "path": "subject.getReferenceKey(Patient)",
                        "type": "string",
                    },
                ]
            },
            {
                "forEachOrNull": "code.coding",
                "column": [{"name": "code", "path": "code", "type": "code"}],
            },
        ],
    },
)


@dataclass(frozen=True)
class State:
    """A version of a resource; `resource` is None when that version deletes it.

    `incarnation` differs when the resource was expunged and made again.
    """

    version: int
    resource: Resource | None
    incarnation: int = 0


@dataclass(frozen=True)
class Waiting(State):
    """A change that waits for a refresh; `base` is the batch layer's incarnation under it."""

    base: int | None = None


@dataclass
class Model:
    """`server` is the truth of the FHIR server, `batch` what the last refresh took."""

    server: dict[Key, State] = field(default_factory=dict)
    batch: dict[Key, State] = field(default_factory=dict)
    confirmed: dict[Key, Waiting] = field(default_factory=dict)
    reported: dict[Key, Waiting] = field(default_factory=dict)
    provisional: dict[Key, Waiting] = field(default_factory=dict)
    incarnations: Any = field(default_factory=lambda: count(1))

    # What happens

    def put(self, key: Key, resource: Resource) -> None:
        """The FHIR server stores the resource; equal content makes no version."""
        held = self.server.get(key)
        if held is None:
            self.server[key] = State(1, resource, next(self.incarnations))
        elif held.resource != resource:
            self.server[key] = replace(held, version=held.version + 1, resource=resource)

    def delete(self, key: Key) -> None:
        """The FHIR server deletes the resource, if it is there."""
        held = self.server.get(key)
        if held is not None and held.resource is not None:
            self.server[key] = replace(held, version=held.version + 1, resource=None)

    def expunge(self, key: Key) -> None:
        """The FHIR server forgets the resource."""
        self.server.pop(key, None)

    def hear(self, key: Key) -> None:
        """Something was said of the FHIR server, and it was asked: its state of now is known."""
        self.reported.pop(key, None)
        self.confirm(key)

    def confirm(self, key: Key) -> None:
        """The FHIR server's state of now is known."""
        state = self.server.get(key) or self._gone(key)
        held = (self.batch.get(key), self.confirmed.get(key))
        if state is None or any(
            one and one.incarnation == state.incarnation and state.version <= one.version
            for one in held
        ):
            return
        self.confirmed[key] = Waiting(
            state.version, state.resource, state.incarnation, base=self._base(key)
        )
        if key in self.provisional and self.provisional[key].version <= state.version:
            del self.provisional[key]

    def _gone(self, key: Key) -> State | None:
        """What the server had of this key, deleted; None where nobody thinks that it has any."""
        held = self.confirmed.get(key) or self.batch.get(key)
        batch = self.batch.get(key)
        if held and batch and batch.incarnation == held.incarnation:
            held = max(held, batch, key=lambda one: one.version)
        if held is None or held.resource is None:
            return None
        return State(held.version + 1, None, held.incarnation)

    def report(self, key: Key, version: int | None, resource: Resource | None) -> None:
        """Somebody said this of the FHIR server, which could not be asked."""
        layers = (self.batch, self.confirmed, self.reported)
        told = [layer[key] for layer in layers if key in layer]
        newest = max((one.version for one in told), default=0)
        if version is None:
            if not told or any(one.version == newest and one.resource is None for one in told):
                return
            version = newest + 1
        if version > newest:
            self.reported[key] = Waiting(version, resource, base=self._base(key))

    def settle(self) -> None:
        """The FHIR server was asked about every report."""
        for key in list(self.reported):
            self.hear(key)

    def insert(self, key: Key, version: int, resource: Resource | None) -> None:
        """A writer's own change was acknowledged under this version."""
        incarnation = self.server[key].incarnation if key in self.server else 0
        self.provisional[key] = Waiting(version, resource, incarnation, base=self._base(key))

    def expire(self, key: Key) -> None:
        """The time of the writer's change has passed."""
        self.provisional.pop(key, None)

    def refresh(self, server: dict[Key, State], heard: list[Waiting]) -> None:
        """The batch layer took this state of the server, which is newer than what was `heard`."""
        self.batch = dict(server)
        for layer in (self.confirmed, self.reported, self.provisional):
            for key, change in list(layer.items()):
                held = self.batch.get(key)
                incarnation = held.incarnation if held else None
                is_comparable = layer is not self.confirmed or change.incarnation == incarnation
                if (
                    (change.version <= self.batch_version(key) and is_comparable)
                    or (
                        change.base not in (None, incarnation)
                        and change.incarnation in (0, change.base)
                    )
                    or any(one is change for one in heard)
                ):
                    del layer[key]
                else:
                    layer[key] = replace(change, base=incarnation)

    # What is known

    def batch_version(self, key: Key) -> int:
        """The version that the batch layer holds, 0 for none."""
        return self.batch[key].version if key in self.batch else 0

    def _base(self, key: Key) -> int | None:
        return self.batch[key].incarnation if key in self.batch else None

    def newest_version(self, key: Key) -> int:
        """The newest version that anybody knows, 0 for none."""
        layers = (self.server, self.batch, self.confirmed, self.reported, self.provisional)
        return max((layer[key].version for layer in layers if key in layer), default=0)

    def live(self) -> dict[str, list[Row]]:
        """The rows of each view over the newest known version of each resource."""
        winners: dict[Key, State] = {}
        for layer in (self.batch, self.confirmed, self.reported, self.provisional):
            for key, state in layer.items():
                is_renewed = (
                    layer is self.confirmed
                    and key in winners
                    and winners[key].incarnation != state.incarnation
                )
                if key not in winners or is_renewed or state.version > winners[key].version:
                    winners[key] = state
        return rows_of(winners)

    def anchored(self) -> dict[str, list[Row]]:
        """The rows of each view over what the last refresh took."""
        return rows_of(self.batch)


def rows_of(states: dict[Key, State]) -> dict[str, list[Row]]:
    """The rows of each view, by resource id and then in the resource's own order."""
    rows: dict[str, list[Row]] = {"people": [], "given_names": [], "codes": []}
    for (resource_type, name), state in sorted(states.items()):
        resource = state.resource
        if resource is None:
            continue
        if resource_type == "Patient":
            if resource.get("active") is not False:
                rows["people"].append((name, resource.get("gender"), resource.get("birthDate")))
            for human_name in resource.get("name", []):
                rows["given_names"] += [(name, given) for given in human_name.get("given", [])]
        else:
            patient = resource["subject"]["reference"].removeprefix("Patient/")
            codings = resource.get("code", {}).get("coding", [])
            codes = [coding.get("code") for coding in codings] or [None]
            rows["codes"] += [(name, patient, code) for code in codes]
    return rows
