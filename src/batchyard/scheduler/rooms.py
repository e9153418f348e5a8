"""Instances by the room they have: kept by the core, and while a round gives it away.

Owns the search for the fullest instance that a demand fits. Refuses to know environments. Instances
with equal room are one group, and a group is read only as far as somebody is taken out of it. The
groups are kept in order of their room, vCPUs first, so that a search begins at the demand and ends
at the first group that it fits: its cost follows neither the instances nor, but for odd shapes,
the number of different rooms.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping

from batchyard.model.amounts import Amount
from batchyard.model.instances import InstanceId

#: vCPUs, memory, GPUs: an amount that can be compared.
_Size = tuple[int, int, int]


class RoomGroups(dict[Amount, dict[InstanceId, None]]):
    """Instances by the room they have. Entering and leaving cost O(log rooms)."""

    __slots__ = ("sizes",)

    def __init__(self) -> None:
        super().__init__()
        #: Holds all and only the keys, in order.
        self.sizes: list[_Size] = []

    def enter(self, free: Amount, instance_id: InstanceId) -> None:
        group = self.get(free)
        if group is None:
            group = self[free] = {}
            _add(self.sizes, free)
        group[instance_id] = None

    def with_another(self, free: Amount, instance_id: InstanceId) -> "RoomGroups":
        """Give the groups as they would be with one more instance; costs O(rooms)."""
        groups = RoomGroups()
        groups.update(self)
        groups.sizes = list(self.sizes)
        if free in groups:
            groups[free] = dict(groups[free])
        groups.enter(free, instance_id)
        return groups

    def leave(self, free: Amount, instance_id: InstanceId) -> None:
        """Take an instance out, if it is there."""
        group = self.get(free)
        if group is not None:
            group.pop(instance_id, None)
            if not group:
                del self[free]
                _drop(self.sizes, free)


class Rooms:
    """The instances of one environment, all ready or all still starting, during a round."""

    __slots__ = (
        "_free_by_changed",
        "_given",
        "_gone",
        "_groups",
        "_returned",
        "_returned_sizes",
        "_sizes",
    )

    def __init__(self, groups: Mapping[Amount, Iterable[InstanceId]]) -> None:
        self._given = groups
        #: The groups that somebody was taken out of, from there on.
        self._groups: dict[Amount, Iterator[InstanceId]] = {}
        #: The groups in which there may be somebody.
        if isinstance(groups, RoomGroups):
            self._sizes = groups.sizes.copy()
        else:
            self._sizes = sorted(_size_of(free) for free in groups)
        #: Instances whose room has changed in this round, by it; the latest is taken first.
        self._returned: dict[Amount, list[InstanceId]] = {}
        self._returned_sizes: list[_Size] = []
        self._free_by_changed: dict[InstanceId, Amount] = {}
        #: Instances that were given up.
        self._gone: set[InstanceId] = set()

    def copy(self) -> "Rooms":
        """Give books of their own, as they stand, to somebody who looks ahead."""
        copied = Rooms(self._given)
        for free, returned in self._returned.items():
            copied._returned[free] = list(returned)
        copied._returned_sizes.extend(self._returned_sizes)
        copied._free_by_changed.update(self._free_by_changed)
        copied._gone.update(self._gone)
        return copied

    def add(self, instance_id: InstanceId, free: Amount) -> None:
        """Enter an instance that the round has launched."""
        self._put(instance_id, free)

    def drop(self, instance_id: InstanceId) -> None:
        """Leave out an instance that is given up."""
        self._gone.add(instance_id)

    def take(self, demand: Amount) -> InstanceId | None:
        """Take the demand out of the fullest instance with room for it; None: there is none."""
        while (free := self._fullest(demand)) is not None:
            instance_id = self._next(free)
            if instance_id is not None:
                self._put(instance_id, free - demand)
                return instance_id
        return None

    def give_back(self, instance_id: InstanceId, demand: Amount) -> None:
        """Undo a `take` of this round."""
        free = self._free_by_changed[instance_id]
        self._returned[free].remove(instance_id)
        self._put(instance_id, free + demand)

    def change(
        self, instance_id: InstanceId, free_of: Callable[[InstanceId], Amount], more: Amount
    ) -> None:
        """Give an instance more room, or less; `free_of` is asked where nothing changed yet."""
        free = self._free_by_changed.get(instance_id)
        if free is None:
            free = free_of(instance_id)
        else:
            self._returned[free].remove(instance_id)
        self._put(instance_id, free + more)

    def is_touched(self, instance_id: InstanceId) -> bool:
        """Tell whether this round has taken something out of it, or launched it."""
        return instance_id in self._free_by_changed

    def _fullest(self, demand: Amount) -> Amount | None:
        found = [
            size
            for sizes in (self._returned_sizes, self._sizes)
            if (size := _first_fitting(sizes, demand)) is not None
        ]
        if not found:
            return None
        cpu_milli, memory_mib, gpu_count = min(found)
        return Amount(cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_count=gpu_count)

    def _next(self, free: Amount) -> InstanceId | None:
        """Take an instance with exactly this room; None: there is none any more."""
        returned = self._returned.get(free)
        if returned is not None:
            found = returned.pop() if returned else None
            if not returned:
                del self._returned[free]
                _drop(self._returned_sizes, free)
            if found is not None or free not in self._given:
                return found
        group = self._groups.get(free)
        if group is None:
            group = self._groups[free] = iter(self._given.get(free, ()))
        for instance_id in group:
            if instance_id not in self._gone and instance_id not in self._free_by_changed:
                return instance_id
        _drop(self._sizes, free)
        return None

    def _put(self, instance_id: InstanceId, free: Amount) -> None:
        self._free_by_changed[instance_id] = free
        others = self._returned.get(free)
        if others is None:
            self._returned[free] = [instance_id]
            _add(self._returned_sizes, free)
        else:
            others.append(instance_id)


def _first_fitting(sizes: list[_Size], demand: Amount) -> _Size | None:
    """Give the smallest of the sizes that has room for a demand."""
    least = (demand.cpu_milli, demand.memory_mib, demand.gpu_count)
    for at in range(bisect_left(sizes, least), len(sizes)):
        size = sizes[at]
        if demand.memory_mib <= size[1] and demand.gpu_count <= size[2]:
            return size
    return None


def _size_of(free: Amount) -> _Size:
    return (free.cpu_milli, free.memory_mib, free.gpu_count)


def _add(sizes: list[_Size], free: Amount) -> None:
    insort(sizes, _size_of(free))


def _drop(sizes: list[_Size], free: Amount) -> None:
    """Take a size out, if it is there."""
    size = _size_of(free)
    at = bisect_left(sizes, size)
    if at < len(sizes) and sizes[at] == size:
        del sizes[at]
