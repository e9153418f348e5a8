"""What the end of a task comes to: its exit code, its reason, and whether it succeeded.

Decides by reference/jobs.md sections 1.3 and 10.1. Refuses to know why a task was stopped, which
comes first.

A task with several containers succeeds if every essential one that ended by itself exited with 0,
and at least one did. One that was stopped because another had ended is not judged.
"""

from msgspec import Struct

from batchyard.core.inputs import ContainerEnded, TaskEnded
from batchyard.model import wording
from batchyard.model.records import Attempt, ContainerResult, StopCause


class Verdict(Struct, frozen=True, kw_only=True):
    """What a report of an end comes to."""

    is_success: bool
    #: Of the container that decided; None if none ever reported one.
    exit_code: int | None
    reason: str | None
    #: Empty for a task with one container.
    containers: tuple[ContainerResult, ...] = ()


def judge(report: TaskEnded) -> Verdict:
    """Say what a report of an end comes to."""
    if not report.containers:
        return Verdict(
            is_success=report.exit_code == 0, exit_code=report.exit_code, reason=report.reason
        )
    decisive = _decisive(report)
    return Verdict(
        is_success=decisive is not None and decisive.exit_code == 0,
        exit_code=None if decisive is None else decisive.exit_code,
        reason=report.reason if decisive is None else decisive.reason,
        containers=tuple(
            ContainerResult(name=each.name, exit_code=each.exit_code, reason=each.reason)
            for each in report.containers
        ),
    )


def preemption_reason_of(cause: StopCause | None) -> str | None:
    """Say why an attempt is, or was, preempted; None: it is not for that that it ends."""
    match cause:
        case StopCause.CROSS_SHARE_PREEMPTION:
            return wording.CROSS_SHARE_PREEMPTION
        case StopCause.IN_SHARE_PREEMPTION:
            return wording.IN_SHARE_PREEMPTION
        case _:
            return None


def verdict_of(attempt: Attempt) -> Verdict:
    """Give the verdict that was kept in an attempt."""
    return Verdict(
        is_success=attempt.exit_code == 0,
        exit_code=attempt.exit_code,
        reason=attempt.reason,
        containers=attempt.containers,
    )


def _decisive(report: TaskEnded) -> ContainerEnded | None:
    """Pick the container that decides: one that failed by itself, else one that exited with 0."""
    essential = [each for each in report.containers if each.is_essential]
    by_itself = [each for each in essential if not each.was_stopped and _has_run_or_failed(each)]
    failed = [each for each in by_itself if each.exit_code != 0]
    if failed:
        return failed[0]
    if by_itself:
        return by_itself[0]
    # Nothing essential came to an end of its own: something kept the task from starting.
    troubled = [each for each in report.containers if each.reason is not None]
    return troubled[0] if troubled else next(iter(essential), None)


def _has_run_or_failed(container: ContainerEnded) -> bool:
    return container.exit_code is not None or container.reason is not None
