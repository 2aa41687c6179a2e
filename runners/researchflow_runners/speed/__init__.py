"""The speed layer: changes that the batch layer has not absorbed yet.

    resource.py       FHIR JSON checked at the edge
    entry.py keys.py  what is kept of a change, and under which Redis keys
    redis_client.py   the version-guarded cache (upsert.lua, forget.lua)
    change_log.py     the cache as the projector reads it: streams, epochs, seeding
    overlay.py        entries as rows of the views, in PostgreSQL
    projector.py      moves the log into the overlay; what it committed is durable
    writer.py         the door for changes: check, confirm, write, project, acknowledge
    runner.py         a view over the cached resources alone

Redis is the log and the hot cache; PostgreSQL holds every acknowledged change.
"""
