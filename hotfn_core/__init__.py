"""hotfn keeps functions hot: start on the first call, reuse for the next, stop when idle.

async with Manager() as manager:
    reply = await manager.call(FunctionSpec(name="echo", command=("cat",)), b"hello")
"""

from .driver import Container, ContainerSpec, Driver, Receiver, SharingDriver
from .errors import (
    BadReply,
    CallAborted,
    CallError,
    CallFailed,
    CallRejected,
    CallTimeout,
    ConfigError,
    DriverError,
    DriverUnavailable,
    HotfnError,
    InstanceExited,
    InvalidCall,
    LaunchFailed,
    LocalProtocolError,
    PluginError,
    ProtocolError,
    QueueTimeout,
    RemoteProtocolError,
    ReplyTooLarge,
    Saturated,
    ShuttingDown,
    TooLarge,
    UnknownFunction,
)
from .hookspecs import CallReport, InstanceChange, StderrLine, hookimpl
from .manager import Manager
from .model import Call, Exit, FunctionSpec, Headers, Reply
from .protocol import Connection, Event, IOProtocol, Limits, Listening, ReplyBody, ReplyEnd, ReplyHead

__version__ = "0.1.0"

__all__ = [
    "BadReply",
    "Call",
    "CallAborted",
    "CallError",
    "CallFailed",
    "CallRejected",
    "CallReport",
    "CallTimeout",
    "ConfigError",
    "Connection",
    "Container",
    "ContainerSpec",
    "Driver",
    "DriverError",
    "DriverUnavailable",
    "Event",
    "Exit",
    "FunctionSpec",
    "Headers",
    "HotfnError",
    "IOProtocol",
    "InstanceChange",
    "InstanceExited",
    "InvalidCall",
    "LaunchFailed",
    "Limits",
    "Listening",
    "LocalProtocolError",
    "Manager",
    "PluginError",
    "ProtocolError",
    "QueueTimeout",
    "Receiver",
    "RemoteProtocolError",
    "Reply",
    "ReplyBody",
    "ReplyEnd",
    "ReplyHead",
    "ReplyTooLarge",
    "Saturated",
    "SharingDriver",
    "ShuttingDown",
    "StderrLine",
    "TooLarge",
    "UnknownFunction",
    "hookimpl",
]
