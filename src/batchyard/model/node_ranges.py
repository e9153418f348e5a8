"""Which nodes of a multi-node job a range means (reference/jobs.md section 9.1). Pure.

Decides how `targetNodes` reads, and which of several nested ranges a node has: the narrowest. Both
the API and the engine read stored `nodeProperties` through here.
"""

import re

from msgspec import Struct

from batchyard.model.records import Json

_TARGET = re.compile(r"(?P<first>[0-9]{0,9}):(?P<last>[0-9]{0,9})|(?P<only>[0-9]{1,9})")


class NodeRange(Struct, frozen=True):
    """Nodes from `first` to `last`, both included."""

    first: int
    last: int
    #: Its upper end was left out: it grows with the number of nodes.
    is_open: bool = False

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, index: int) -> bool:
        return self.first <= index <= self.last

    def holds(self, other: "NodeRange") -> bool:
        return self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "NodeRange") -> bool:
        return self.first <= other.last and other.first <= self.last


def node_range_of(text: str, node_count: int) -> NodeRange | None:
    """Read `targetNodes`: `a:b`, `a:`, `:b`, `:` or `a`. None: it has no such form, or is empty."""
    match = _TARGET.fullmatch(text)
    if match is None:
        return None
    if match["only"]:
        return NodeRange(int(match["only"]), int(match["only"]))
    first = int(match["first"] or 0)
    found = NodeRange(first, int(match["last"] or node_count - 1), is_open=not match["last"])
    return found if found.first <= found.last else None


def range_index_by_node(ranges: list[NodeRange], node_count: int) -> list[int | None]:
    """Tell, node by node, which of the ranges it has: the narrowest one; None: none has it."""
    by_width = sorted(range(len(ranges)), key=lambda at: len(ranges[at]))
    return [
        next((at for at in by_width if index in ranges[at]), None) for index in range(node_count)
    ]


def range_of_node(node_properties: Json, index: int) -> Json:
    """Give the item of `nodeRangeProperties` that a node of a stored job has."""
    count: int = node_properties["numNodes"]
    items: list[Json] = node_properties["nodeRangeProperties"]
    having: list[tuple[int, int]] = []
    for at, item in enumerate(items):
        found = node_range_of(item["targetNodes"], count)
        if found is not None and index in found:
            having.append((len(found), at))
    assert having, node_properties
    return items[min(having)[1]]
