"""Composed views: named SQL over views, for joins that users want to keep.

definition.py  FHIR Library → SqlLibrary       syntax.py     text → tokens, PostgreSQL's parse tree
sql_check.py   text → CheckedSql, or refused   grammar.py, vocabulary.py   what may be used
"""
