"""The children of an array, in as little memory as they need.

Owns which children have a story of their own, and what the others wait for. Refuses to know what
happens to any child. A child that nothing happened to alone costs one byte: it belongs to the
*rest*, whose status stands once in the parent's progress (`ArrayProgress`).
"""

from dataclasses import dataclass

from batchyard.model.status import JobStatus

#: The byte of a child that belongs to the rest.
REST = 0
#: The other bytes: the status of a child with a story of its own.
CODE_BY_STATUS = {status: code for code, status in enumerate(JobStatus, start=1)}
STATUS_BY_CODE = {code: status for status, code in CODE_BY_STATUS.items()}

#: In `waits`: one of the conditions of the child can never be met.
DOOMED = 255


@dataclass(slots=True, kw_only=True)
class Array:
    """What the parent of an array holds of its children."""

    #: One byte a child: REST, or the code of its own status.
    codes: bytearray
    #: One byte a child: how many of its own conditions (N_TO_N, SEQUENTIAL) are not met, or DOOMED;
    #: None: no child has any. Counts for the children of the rest only.
    waits: bytearray | None
    is_sequential: bool
    #: Somebody depends on a single child.
    has_awaited_children: bool = False

    @property
    def size(self) -> int:
        return len(self.codes)

    def rest_indexes(self) -> list[int]:
        """Give the children of the rest, in order."""
        return [index for index, code in enumerate(self.codes) if code == REST]

    def own_indexes(self, *statuses: JobStatus) -> list[int]:
        """Give the children with a story of their own that have one of the statuses, in order."""
        wanted = bytes(CODE_BY_STATUS[status] for status in statuses)
        return [index for index, code in enumerate(self.codes) if code in wanted]
