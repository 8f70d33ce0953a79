"""How the streams of a copy that listens meet those of hotfn: a private directory, a socket in it, a connection.

The protocol says that its copies listen (`IOProtocol.listening`), the driver gives a copy the directory
(`ContainerSpec.shared`); what is between the two is here, so that neither knows of the other.
"""

from .meeting import Launch, Meeting
from .places import Places, sweep

__all__ = ["Launch", "Meeting", "Places", "sweep"]
