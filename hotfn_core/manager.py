"""Manager: the public entry. (Being written; see the docstring of each method for its contract.)"""

from __future__ import annotations


class Manager:
    """Being written."""
