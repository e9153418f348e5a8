"""Puts parameters into a command: `Ref::name`. Pure (reference/jobs.md section 2.4).

The certain AWS form is a whole argument; inside a longer one we replace each occurrence, taking the
longest name that the alphabet allows. A value is one argument: never split, never expanded again.
"""

import re
from collections.abc import Mapping, Sequence

from batchyard.model.refusal import client_exception

_REFERENCE = re.compile(r"Ref::([A-Za-z0-9_-]+)")


def has_reference(command: Sequence[str]) -> bool:
    """Tell whether any argument names a parameter."""
    return any("Ref::" in argument for argument in command)


def substitute(command: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """Give the command with every reference replaced. Refuses a reference without a parameter."""

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        value = parameters.get(name)
        if value is None:
            raise client_exception(
                f"Unable to substitute value. No parameter found for reference {name}"
            )
        return value

    return [_REFERENCE.sub(value_of, argument) for argument in command]
