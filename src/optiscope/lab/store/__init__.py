"""The store: finished runs in one SQLite file, so that what was computed once is not computed again.

`run`, `sweep`, `tune` and `compare` take `store=`, a path or a `Store`: they look up what they are about to do by an
address that says all it depends on, and keep what they did piece by piece. Several processes may use one file.
"""

from .records import Found, Query, Store, opened
