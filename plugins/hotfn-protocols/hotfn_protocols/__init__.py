"""The IO protocols `default` (cold), `http`, `json` and `cloudevent`, as a plugin of hotfn."""

__version__ = "0.1.0"
