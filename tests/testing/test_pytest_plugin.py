"""What the plugin costs those who do not use it."""

from __future__ import annotations

import subprocess
import sys

import batchyard.testing
from batchyard.testing import pytest_plugin

PROGRAM = """
import sys
import batchyard.testing.pytest_plugin
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("batchyard.")}
print(sorted(rooms), "sqlalchemy" in sys.modules)
"""


def test_it_loads_nothing_before_it_is_wanted():
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert told.stdout == "['testing'] False\n"


def test_all_that_is_exported_is_there():
    assert pytest_plugin.batch_yard is not None
    for name in batchyard.testing.__all__:
        assert getattr(batchyard.testing, name) is not None
    assert not hasattr(batchyard.testing, "nothing")
