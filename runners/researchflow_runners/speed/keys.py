"""Redis keys of one resource type; the type is the hash tag, so a script stays in one slot.

    fhir:{Patient}:<id>      hash: the entries known of one resource, one per origin
    fhir:{Patient}/index     sorted set: ids by the time of their newest write, in ms
    fhir:{Patient}/changes   stream: which ids changed, in order, each linked to the one before
    fhir:{Patient}/state     hash: the epoch, and the stream's last id

A FHIR id may be `index`, but holds no slash, so bookkeeping cannot collide with a resource.
"""

from __future__ import annotations


def entry_key(resource_type: str, resource_id: str) -> str:
    """The hash of one resource."""
    return f"fhir:{{{resource_type}}}:{resource_id}"


def index_key(resource_type: str) -> str:
    """The sorted set of cached ids."""
    return f"fhir:{{{resource_type}}}/index"


def changes_key(resource_type: str) -> str:
    """The stream of changed ids."""
    return f"fhir:{{{resource_type}}}/changes"


def state_key(resource_type: str) -> str:
    """The hash with epoch and head."""
    return f"fhir:{{{resource_type}}}/state"
