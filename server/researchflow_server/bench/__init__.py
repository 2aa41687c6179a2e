"""Measurements that print their conditions beside the figure.

figure.py     one measured figure and the bound it is held to
overhead.py   what a tool call costs over HTTP beyond the runner's own time
"""
