"""Typed questions over views: the model, its SQL, its cursors.

A `Query` (model.py) is checked against the columns of its views and becomes one SQL statement
(sql.py) over whatever relation the serving layer chose. This package opens no connection.
"""
