"""What is asked about the future, and what may go wrong with it.

Owns the words between these operations and whoever answers them. Refuses to know who that is.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from msgspec import Struct

from batchyard.model.forecast import Future
from batchyard.model.ids import PARTITION, JobId, QueueArn, Scope
from batchyard.model.refusal import Refusal
from batchyard.model.what_if import Changes, Comparison

T = TypeVar("T")


class Asked(Struct, frozen=True, kw_only=True):
    """A question about the future: of a job, of a queue, or with changes of all that waits."""

    #: What the ARNs of the caller's account and region begin with.
    place: str
    now_ms: int
    seed: int = 0
    job_id: JobId | None = None
    queue_arn: QueueArn | None = None
    changes: Changes | None = None


class Unforeseen(Exception):
    """Nobody could look ahead. The text says why."""


class TooBusy(Exception):
    """Too many questions wait already."""


class Seer(Protocol):
    """Looks ahead. All may raise `Unforeseen` and `TooBusy`."""

    async def foresee(self, asked: Asked) -> Future | None:
        """Look ahead for a job or a queue; None: it is not live, or does not wait."""
        ...

    async def compare(self, asked: Asked) -> Comparison:
        """Look at what is and at what would be. Raises Refusal for changes without a meaning."""
        ...


def place_of(scope: Scope) -> str:
    """Give what the ARNs of a scope's things of AWS Batch begin with."""
    return f"arn:{PARTITION}:batch:{scope.region}:{scope.account}:"


async def answer_of(asking: Callable[[], Awaitable[T]]) -> T:
    """Ask, and say what a caller is told when nobody can answer."""
    try:
        return await asking()
    except TooBusy:
        text = "Too many forecasts are being made: ask again in some seconds."
        raise Refusal("ServerException", text, http_status=503) from None
    except Unforeseen as error:
        text = f"The future could not be looked at: {error}."
        raise Refusal("ServerException", text, http_status=503) from error
