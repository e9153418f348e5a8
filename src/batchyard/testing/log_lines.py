"""What a yard's server says in the log of the test's process: errors, and nothing of the rest.

Owns one processor in front of those that the process has, for as long as any yard is up. Lines of
other threads go on as they did.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from logging import getLevelNamesMapping
from threading import Lock, current_thread
from typing import Any

import structlog

#: Of the threads whose lines are ours.
THREAD_NAME = "batchyard-yard"

_LEVELS = getLevelNamesMapping()
_lock = Lock()
_up_count = 0
_was_configured = False


@contextmanager
def errors_only() -> Iterator[None]:
    """Keep the log quiet meanwhile."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _up_count, _was_configured
    with _lock:
        _up_count += 1
        if _up_count == 1:
            _was_configured = structlog.is_configured()
            structlog.configure(processors=[_drop, *structlog.get_config()["processors"]])


def _leave() -> None:
    global _up_count
    with _lock:
        _up_count -= 1
        processors = structlog.get_config()["processors"]
        if _up_count or _drop not in processors:  # whoever configured it anew has dropped us
            return
        if _was_configured:
            structlog.configure(processors=[each for each in processors if each is not _drop])
        else:
            structlog.reset_defaults()


def _drop(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    is_ours = current_thread().name == THREAD_NAME
    if is_ours and _LEVELS.get(method.upper(), _LEVELS["ERROR"]) < _LEVELS["ERROR"]:
        raise structlog.DropEvent
    return event
