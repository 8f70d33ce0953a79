"""`python tests/engines up | down | status`: see setup/command.py. Needs nothing but Python's own library."""

import importlib
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # `engines` is the package, as pytest has it
sys.exit(importlib.import_module("engines.setup.command").main())
