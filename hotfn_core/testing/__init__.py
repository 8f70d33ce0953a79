"""For tests: of functions, of drivers and protocols, and of hotfn itself.

`simulate` runs a program in virtual time with a seeded schedule; `FakeDriver` and its protocols need no process;
`check_driver` and `check_protocol` hold anyone's plugin against the contract; `guests` has function programs. Import
the kits from their modules: `hotfn_core.testing.check_driver`, `hotfn_core.testing.check_protocol`.
"""

from .behaviour import Behaviour
from .fake import FakeContainer, FakeDriver, FakePlugin, fake_spec
from .fake_protocol import FakeColdProtocol, FakeProtocol
from .simloop import Deadlock, RunawayLoop, SimulatedLoop, simulate

__all__ = [
    "Behaviour",
    "Deadlock",
    "FakeColdProtocol",
    "FakeContainer",
    "FakeDriver",
    "FakePlugin",
    "FakeProtocol",
    "RunawayLoop",
    "SimulatedLoop",
    "fake_spec",
    "simulate",
]
