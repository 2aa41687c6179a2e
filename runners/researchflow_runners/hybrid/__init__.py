"""The serving layer: picks a view's route and freshness, merges, and dates the answer.

`HybridRunner` (runner.py) is the door. It reads the bookkeeping (facts.py) and the rows in one
snapshot, so that everything an answer says about itself is true of its rows.
"""
