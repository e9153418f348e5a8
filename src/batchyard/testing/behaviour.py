"""What the pretended containers do: rules by job, image or whatever a test looks at.

Decides which rule a container follows: the newest that fits it. Refuses to know how a container is
run (`compute.twin`) and where jobs are kept.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase

from batchyard.compute.twin import Script
from batchyard.testing.trouble import YardTrouble

#: How long containers run that no rule is for.
RUN_DEFAULT = timedelta(minutes=1)

_EXIT_CODE_MAX = 255
_MILLISECOND = timedelta(milliseconds=1)
#: A line, or when it is printed (from the container's start) and the line.
Output = str | tuple[timedelta, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a job, as rules see it."""

    job_id: str
    job_name: str
    #: With its revision: `name:1`.
    definition: str
    queue: str
    #: From 1.
    attempt: int
    array_index: int | None
    node_index: int | None
    #: Of the container in its task.
    name: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)


#: Names a job, or looks at a container.
Which = str | Callable[[Container], bool]


@dataclass(frozen=True, slots=True)
class _Rule:
    fits: Callable[[Container], bool]
    script: Script


class Jobs:
    """The rules. Those made later come before those made earlier."""

    def __init__(self, *, run: timedelta = RUN_DEFAULT, exit_code: int = 0) -> None:
        self._rules = [_Rule(lambda _: True, _script(run=run, exit_code=exit_code))]
        #: Patterns of images that cannot be pulled, with the reason.
        self._unpullable: dict[str, str] = {}
        self._fault: Exception | None = None

    def behave(  # noqa: PLR0913 -- by what a container is found, and what it does
        self,
        predicate: Callable[[Container], bool] | None = None,
        *,
        job_name: str | None = None,
        definition: str | None = None,
        image: str | None = None,
        queue: str | None = None,
        attempt: int | None = None,
        pull: timedelta = timedelta(0),
        run: timedelta | None = RUN_DEFAULT,
        exit_code: int = 0,
        output: str | Sequence[Output] = (),
        reason: str | None = None,
        ignores_sigterm: bool = False,
    ) -> None:
        """Say what containers do from now on that fit all that is given.

        Names are patterns (`train-*`); `definition` is one with or without its revision. Their
        image is pulled for `pull`; then they run for `run` (None: until they are stopped), print
        `output` and exit with `exit_code`. `reason` is what the container engine adds
        (`OutOfMemoryError: …`).
        """
        wanted = {
            "job_name": job_name,
            "image": image,
            "queue": queue,
            "attempt": attempt,
            "definition": definition,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        script = _script(
            pull=pull,
            run=run,
            exit_code=exit_code,
            output=output,
            reason=reason,
            ignores_sigterm=ignores_sigterm,
        )

        def fits(container: Container) -> bool:
            return all(_has(container, name, value) for name, value in given.items()) and (
                predicate is None or predicate(container)
            )

        self._rules.append(_Rule(fits, script))

    def fail_pulls(self, image: str, reason: str) -> None:
        """Let images that fit the pattern not be there."""
        self._unpullable[image] = reason

    def allow_pulls(self, image: str | None) -> None:
        """Take that back; None: for all images."""
        if image is None:
            self._unpullable.clear()
        else:
            self._unpullable.pop(image, None)

    def script_of(self, container: Container) -> Script:
        """Say what a container does that is started now. What a predicate raises is kept: see
        `check`.
        """
        try:
            return self._find(container)
        except Exception as error:
            self._fault = self._fault or error
            return Script(start_failure=f"CannotStartContainerError: a test's rule: {error!r}")

    def check(self) -> None:
        """Raise `YardTrouble` if a predicate has failed."""
        if self._fault is not None:
            raise YardTrouble(f"a rule for jobs has failed: {self._fault!r}") from self._fault

    def _find(self, container: Container) -> Script:
        for pattern, reason in self._unpullable.items():
            if fnmatchcase(container.image, pattern):
                return Script(start_failure=reason)
        return next(rule.script for rule in reversed(self._rules) if rule.fits(container))


def fits(which: Which, container: Container) -> bool:
    """Tell whether a container is one of those that are meant."""
    return fnmatchcase(container.job_name, which) if isinstance(which, str) else which(container)


def milliseconds(span: timedelta) -> int:
    """Give a span in whole milliseconds. Raises ValueError if it is negative."""
    if span < timedelta(0):
        raise ValueError(f"time does not go backwards: {span}")
    return span // _MILLISECOND


def _has(container: Container, name: str, value: object) -> bool:
    found = getattr(container, name)
    if not isinstance(value, str):
        return bool(found == value)
    if name == "definition" and not re.search(r":\d+$", value):
        found = found.rpartition(":")[0]
    return fnmatchcase(found, value)


def _script(  # noqa: PLR0913 -- what a container does
    *,
    run: timedelta | None,
    exit_code: int,
    pull: timedelta = timedelta(0),
    output: str | Iterable[Output] = (),
    reason: str | None = None,
    ignores_sigterm: bool = False,
) -> Script:
    if exit_code not in range(_EXIT_CODE_MAX + 1):
        raise ValueError(f"an exit code is 0..{_EXIT_CODE_MAX}: {exit_code!r}")
    output = [output] if isinstance(output, str) else list(output)
    timed = [(milliseconds(each[0]), each[1]) for each in output if not isinstance(each, str)]
    return Script(
        pull_ms=milliseconds(pull),
        duration_ms=None if run is None else milliseconds(run),
        exit_code=exit_code,
        lines=tuple(each for each in output if isinstance(each, str)),
        later_lines=tuple(sorted(timed, key=lambda each: each[0])),
        reason=reason,
        is_term_ignored=ignores_sigterm,
    )
