"""Stores and runners, opened once, and the work that goes on beside the calls.

stores.py      the connections              opening.py     all of it, opened and closed
runtime.py     the parts, wired             background.py  projector, looks, retention
refreshes.py   refreshes as handles         views.py       the views that can be asked
keyfile.py     the key that signs cursors
"""

from researchflow_server.runtime.opening import open_runtime
from researchflow_server.runtime.runtime import Runtime
from researchflow_server.runtime.stores import uses_embedded

__all__ = ["Runtime", "open_runtime", "uses_embedded"]
