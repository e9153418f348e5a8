"""What becomes of a task, told before it runs.

Owns the words in which the outside of a simulation answers. Refuses to know who decides a fate: a
trace, a guess from history, or a test.
"""

from collections.abc import Callable

from msgspec import Struct

from batchyard.core.effects import StartTask


class Fate(Struct, frozen=True, kw_only=True):
    """How one attempt's task goes."""

    #: From the start of its process to its end, in milliseconds; None: it runs until it is stopped.
    run_ms: int | None
    exit_code: int | None = 0
    #: As in a backend's report: None, or `<ErrorName>: <text>`.
    reason: str | None = None
    #: From its placement to the start of its process (images, networks), in milliseconds.
    start_ms: int = 0
    #: From the order to stop to its end, in milliseconds; no longer than the grace it is given.
    stop_ms: int = 0


#: Tells the fate of a task when it is placed, at that time in milliseconds.
FateOf = Callable[[StartTask, int], Fate]
