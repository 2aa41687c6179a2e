"""Where resources come from: the tables of a HAPI FHIR JPA server.

tables.py     HAPI's tables made by us, for embedded and development databases
layout.py     the relations `keys` and `current` over tables of any age (pure)
reader.py     HapiSource: one database, probed and read as one snapshot
legacy.py     contents that HAPI before 7.0 kept compressed
load.py       NDJSON and Bundles into development tables
synthetic/    a hospital that does not exist
"""

from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.reader import Content, HapiSource, Head, SourceSnapshot, probe

__all__ = ["Content", "HapiLayout", "HapiSource", "Head", "SourceSnapshot", "probe"]
