"""The IO protocols `default` (cold), `http` and `json`, as a plugin of hotfn."""

__version__ = "0.1.0"
