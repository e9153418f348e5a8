"""Inventories of the core's state, taken bit by bit while everything happens to it.

Checks, each time that one is complete, that the state made of it is the very same: whatever is in
it, in the same order where order can decide anything. Not compared are past entries, which
are passed over whenever they are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from batchyard.core import events as e
from batchyard.core.deadlines import Deadlines
from batchyard.core.inventory import Rest, entry_of, rest_of
from batchyard.core.state import Job, Queue, State
from batchyard.engine.stocktaking import ENCODER, Stocktaking, unpack
from batchyard.model.ids import JobId

_PIECE_ENTRIES = 2
#: Between the end of one and the beginning of the next: comparing costs more than a turn, and a
#: number that shares no factor with what tests repeat comes to every kind of turn.
_TURNS_BETWEEN = 7

encode = ENCODER.encode


class Inventories:
    """Takes one after the other."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._stocktaking = Stocktaking(State())
        self._turns_until_next = 0

    def see(self, state: State, events: Iterable[e.Event]) -> None:
        """Go on after something happened; `state` is another one after a crash."""
        if state is not self._state:
            self._begin(state)
            return
        if self._turns_until_next:
            self._turns_until_next -= 1
            if not self._turns_until_next:
                self._begin(state)
            return
        rest = self._stocktaking.go_on(state, events)
        if rest is not None:
            compare(state, unpack(rest, self._stocktaking.pieces))
            self._turns_until_next = _TURNS_BETWEEN

    def _begin(self, state: State) -> None:
        self._state = state
        self._turns_until_next = 0
        self._stocktaking = Stocktaking(state, _PIECE_ENTRIES)


def compare(live: State, again: State) -> None:
    """Demand that two states are the same."""
    assert encode(_without_past(rest_of(live))) == encode(_without_past(rest_of(again)))
    assert live.jobs.keys() == again.jobs.keys()
    for job_id in live.jobs:
        assert _told(live, job_id) == _told(again, job_id)
    assert _dependents(live) == _dependents(again)
    for arn, queue in live.queues.items():
        assert _lines(queue) == _lines(again.queues[arn])


def _without_past(rest: Rest) -> Rest:
    state = rest.state
    deadlines = Deadlines(
        each for each in state.deadlines.entries() if each[1] in state.job_by_task
    )
    alarms = Deadlines(each for each in state.alarms.entries() if each[1] in state.instances)
    return Rest(state=replace(state, deadlines=deadlines, alarms=alarms), rooms=rest.rooms)


def _told(state: State, job_id: JobId) -> bytes:
    _, told = entry_of(state, job_id)
    if isinstance(told, Job) and told.array is not None:
        # Asked only where somebody does wait.
        told = replace(told, array=replace(told.array, has_awaited_children=False))
    return encode(told)


def _dependents(state: State) -> dict[JobId, list[JobId]]:
    live = {
        job_id: [each for each in waiting if each in state.jobs]
        for job_id, waiting in state.dependents.items()
    }
    return {job_id: waiting for job_id, waiting in live.items() if waiting}


def _lines(queue: Queue) -> object:
    return (
        list(queue.jobs),
        list(queue.line),
        [list(each.line) for each in queue.shares.values()],
        [(list(each.jobs), list(each.line)) for each in (queue.quota_shares or {}).values()],
    )
