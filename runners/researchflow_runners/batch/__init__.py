"""The batch layer: views kept in tables, brought up to date by refreshes, readable at anchors.

refresher   one refresh: plan → compute → publish
staging     the source's keys and resources as relations, from one snapshot
diff        changed keys against the ledger
build       rows of a view, culprits left out
publish     the one commit
anchors     list and expire
pending     what the source has that the batch layer lacks
"""
