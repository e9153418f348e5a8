"""The form that DescribeComputeEnvironments and DescribeJobQueues share.

Names or ARNs ask for some things, nothing asks for all; things come in the order of their
creation, in pages; unknown and foreign ones are left out (reference/compute-and-scheduling.md
section 0).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.service import Service
from batchyard.model.ids import Scope
from batchyard.model.limits import DESCRIBE_IDS_MAX, PAGE_SIZE_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.store import Connection
from batchyard.wire.call import Call


class Listed(Protocol):
    """A record that belongs to a scope and has a place in the order of creation."""

    @property
    def seq(self) -> int: ...
    @property
    def scope(self) -> Scope: ...


R = TypeVar("R", bound=Listed)
A = TypeVar("A", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[R, A]):
    """One of the operations: its words, and where its records are."""

    operation: str
    #: The member that names things, in the request and in the answer.
    member: str
    arn_of: Callable[[Scope, str], A]
    read_one: Callable[[Connection, A], R | None]
    #: (connection, scope, after which number, at most how many)
    read_page: Callable[[Connection, Scope, int, int], list[R]]
    show: Callable[[R], Json]


async def describe(listing: Listing[R, A], service: Service, call: Call, request: Json) -> Json:
    """Answer one page of a listing."""
    scope = call.scope
    texts: Sequence[str] = request.get(listing.member, [])
    if len(texts) > DESCRIBE_IDS_MAX:
        raise client_exception(
            f"{listing.member} must not have more than {DESCRIBE_IDS_MAX} items."
        )
    arns = [listing.arn_of(scope, text) for text in texts]
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = (listing.operation, scope, *arns)
    after_seq = read_token(query, request.get("nextToken")) or 0

    def read(conn: Connection) -> list[R]:
        if not arns:
            return listing.read_page(conn, scope, after_seq, size + 1)
        found = [listing.read_one(conn, arn) for arn in dict.fromkeys(arns)]
        known = [each for each in found if each is not None]
        return sorted(
            (each for each in known if each.scope == scope and each.seq > after_seq),
            key=lambda record: record.seq,
        )

    records = await service.store.read(read)
    answer: Json = {listing.member: [listing.show(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer
