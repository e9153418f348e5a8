"""A test kit: the real server in the test's own process, on time and machines that the test owns.

See `docs/testing.md`. The front door is `yard`. pytest loads this wherever batchyard is
installed, so what is exported is imported only when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchyard.testing.behaviour import Container as Container
    from batchyard.testing.behaviour import Jobs as Jobs
    from batchyard.testing.front_door import START as START
    from batchyard.testing.front_door import Yard as Yard
    from batchyard.testing.front_door import yard as yard
    from batchyard.testing.trouble import NotInRealTime as NotInRealTime
    from batchyard.testing.trouble import YardTrouble as YardTrouble

_MODULE_BY_NAME = {
    "START": "front_door",
    "Container": "behaviour",
    "Jobs": "behaviour",
    "NotInRealTime": "trouble",
    "Yard": "front_door",
    "YardTrouble": "trouble",
    "yard": "front_door",
}

__all__ = ["START", "Container", "Jobs", "NotInRealTime", "Yard", "YardTrouble", "yard"]


def __getattr__(name: str) -> object:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
