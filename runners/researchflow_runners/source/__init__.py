"""Where resources come from: the tables of a HAPI FHIR JPA server.

tables.py      HAPI's tables made by us, for embedded and development databases
options.py     what the operator says: zone, base addresses, partitions (pure)
layout.py      the relations `keys` and `current` over tables of any age (pure)
meta.py        a resource's meta, rebuilt as the server would (pure)
references.py  references to the server itself made relative (pure)
probe.py       what the tables of one database look like, or why they cannot be read
reader.py      HapiSource: one database, read as one snapshot
legacy.py      contents that HAPI before 7.0 kept in large objects
load.py        NDJSON and Bundles into development tables
synthetic/     a hospital that does not exist
"""

from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.options import SourceOptions
from researchflow_runners.source.probe import probe
from researchflow_runners.source.reader import Content, HapiSource, Head, SourceSnapshot

__all__ = [
    "Content",
    "HapiLayout",
    "HapiSource",
    "Head",
    "SourceOptions",
    "SourceSnapshot",
    "probe",
]
