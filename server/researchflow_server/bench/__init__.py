"""Measurements that print their conditions beside the figure.

corpus.py     so many resources of each type, as text in tables
views.py      each view against the parse floor, planning and compilation
peers.py      other engines of SQL on FHIR over the same resources
ward.py       the loaded hospital that they share
figure.py     one measured figure and the bound it is held to
memory.py     the most memory that a build takes
build.py      loading, the first build and a refresh
hashing.py    what content hashes add to both
latest.py     the latest row of each key beside DISTINCT ON
merge.py      what the speed layer adds to a query
visible.py    how soon an inserted change is seen over MCP
questions.py  what our part of an answer costs beside the bare SQL
overhead.py   what a tool call costs over HTTP beyond the runner's own time
"""
