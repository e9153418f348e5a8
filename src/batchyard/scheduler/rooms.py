"""Instances by the room they have, while a round gives it away.

Owns the search for the fullest instance that a demand fits. Refuses to know environments. Instances
with equal room are one group, and a group is read only as far as somebody is taken out of it: so a
search costs the number of different rooms, not of instances.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from batchyard.model.amounts import Amount
from batchyard.model.instances import InstanceId


class Rooms:
    """The instances of one environment, all ready or all still starting."""

    __slots__ = ("_free_by_changed", "_given", "_gone", "_groups", "_returned")

    def __init__(self, groups: Mapping[Amount, Iterable[InstanceId]]) -> None:
        self._given = groups
        self._groups: dict[Amount, Iterator[InstanceId]] = {
            free: iter(group) for free, group in groups.items()
        }
        #: Instances whose room has changed in this round, by it; the latest is taken first.
        self._returned: dict[Amount, list[InstanceId]] = {}
        self._free_by_changed: dict[InstanceId, Amount] = {}
        #: Instances that were given up.
        self._gone: set[InstanceId] = set()

    def copy(self) -> "Rooms":
        """Give books of their own, as they stand, to somebody who looks ahead."""
        copied = Rooms(self._given)
        for free, returned in self._returned.items():
            copied._returned[free] = list(returned)
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
        fitting = [
            free
            for frees in (self._returned, self._groups)
            for free in frees
            if demand.fits_in(free)
        ]
        return min(fitting, key=_size_of, default=None)

    def _next(self, free: Amount) -> InstanceId | None:
        """Take an instance with exactly this room; None: there is none any more."""
        returned = self._returned.get(free)
        if returned is not None:
            if returned:
                return returned.pop()
            del self._returned[free]
        for instance_id in self._groups.get(free, ()):
            if instance_id not in self._gone and instance_id not in self._free_by_changed:
                return instance_id
        self._groups.pop(free, None)
        return None

    def _put(self, instance_id: InstanceId, free: Amount) -> None:
        self._free_by_changed[instance_id] = free
        self._returned.setdefault(free, []).append(instance_id)


def _size_of(free: Amount) -> tuple[int, int, int]:
    return (free.cpu_milli, free.memory_mib, free.gpu_count)
