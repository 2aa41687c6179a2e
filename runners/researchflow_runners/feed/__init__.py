"""What changed in the source: told by an outbox, or found by comparing.

state.py            which feed the source allows, and by what it is known again
prepare.py          the outbox in the source: its DDL, installed, checked, removed
outbox.py           the changes after a position
position.py         how far each reader has read
resource_state.py   what the source holds of some resources
entries.py          the same as overlay entries
round.py, tail.py   from the source's changes to live rows: one round, and round after round
probed.py           the source, its layout probed seldom
"""
