"""How what goes wrong with a container is told: AWS's error names, its length, the operator's log.

Owns the form of a reason (reference: ECS agent's error names). Refuses to know what failed.
"""

from __future__ import annotations

import os

_REASON_LENGTH_MAX = 255


class LaunchRefused(Exception):
    """The container cannot be started; the text is the reason in AWS's form."""


def note(text: str) -> None:
    """Write a line for the operator into `supervisor.log`, if the disk takes it."""
    try:
        os.write(2, text.encode("utf-8", "replace") + b"\n")
    except OSError:
        return


def clip(name: str, text: str) -> str:
    """Spell a reason `<name>: <text>` within AWS's length."""
    reason = f"{name}: {' '.join(text.split())}"
    return reason if len(reason) <= _REASON_LENGTH_MAX else reason[: _REASON_LENGTH_MAX - 3] + "..."
