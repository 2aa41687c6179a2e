"""The speed layer: changes that the batch layer has not absorbed yet.

    resource.py            FHIR JSON checked at the edge
    entry.py, keys.py      what is kept of a change, and under which Redis keys
    redis_connection.py    pool, deadlines, error translation
    redis_client.py        the version-guarded cache (upsert.lua, forget.lua)
    change_log.py          the cache as the projector reads it: positions, losses, putting back
    overlay_entry.py       which entries of a resource the overlay keeps
    overlay.py             the rows of entries in the views
    projection.py          one type's log applied in one transaction
    projector.py           all logs; callers share projections, a loop follows what others write
    change.py, known.py    a change asked for; what batch layer and overlay know of it
    source_states.py       what the source holds of single resources now
    decision.py            what a change comes to (pure)
    storing.py             decided changes written, projected, acknowledged
    reports.py             what is said of the source: read there, or believed until one can
    writer.py              the door for changes: apply, hear, confirm, settle
    search.py, runner.py   a view over the cached resources alone

Redis is the log and the hot cache; PostgreSQL holds every acknowledged change.
"""
