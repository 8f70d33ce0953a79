"""The IO protocol `http-stream`, HTTP on a unix socket, as a plugin of hotfn."""

__version__ = "0.1.0"
