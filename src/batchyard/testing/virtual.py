"""The world of a yard with virtual time: who lets what happen, and when.

Owns the moves: time goes to the next thing that is due, what follows from it is done, and so on.
Everything here runs on the server's loop.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from batchyard.api.batch.job_ids import JobIds
from batchyard.cli.serving import World, launch_times
from batchyard.cli.settings import Settings
from batchyard.compute.port import Host, OutputSink
from batchyard.compute.twin import TwinMachine
from batchyard.engine.catalogue import SpotMarket
from batchyard.engine.pace import Pace
from batchyard.model.ids import JobId, TaskId
from batchyard.model.secret_reference import SecretReference
from batchyard.store import Store
from batchyard.testing.behaviour import Jobs, Which, fits
from batchyard.testing.clock import VirtualClock
from batchyard.testing.machine import PretendedBackend
from batchyard.testing.quiet_loop import QuietLoop
from batchyard.testing.spot_market import EndingMarket, Supply
from batchyard.testing.trouble import YardTrouble
from batchyard.wire.call import Call, Handler, Handlers

#: More than ever follows from one moment; without a limit a fault of ours would hang the test.
_STEPS_AT_ONCE_MAX = 100_000


class _Unhurried(Pace):
    """Never rests from a flood: callers wait for the engine anyway."""

    def end_turn(self, *, wishes_taken: int, are_more_coming: bool) -> None:
        super().end_turn(wishes_taken=0, are_more_coming=are_more_coming)


class VirtualWorld:
    """Time, machine and containers of one yard."""

    def __init__(self, *, start_ms: int, host: Host, jobs: Jobs, seed: int) -> None:
        self.clock = VirtualClock(start_ms)
        self.loop = QuietLoop()
        self._machine = TwinMachine(now_ms=self.clock.now_ms, hosts=[host])
        self._jobs = jobs
        self._chance = Random(seed)  # noqa: S311 -- ids, no secrets
        self.spot = Supply()
        self._backend: PretendedBackend | None = None

    def world(self, settings: Settings) -> World:
        """Give what the server is to find around it."""
        times = launch_times(settings)
        return World(
            clock=self.clock,
            make_backend=self._make_backend,
            launch_times=replace(times, market=self._market(times.market)),
            read_secrets=_read_secrets,
            ids=JobIds(self._chance.randbytes),
            guard=self._settle_after_each,
            pace=_Unhurried(),
            has_rests=False,
        )

    def know(self, find_task: Callable[[TaskId], JobId | None]) -> None:
        """Learn which job a task belongs to."""
        assert self._backend is not None, "the server is up"
        self._backend.find_task = find_task

    async def settle(self) -> None:
        """Let everything happen that happens without time passing."""
        await self.loop.quiet()

    async def advance(self, span_ms: int) -> None:
        """Let time pass, stopping wherever something is due."""
        await self.settle()
        end_ms = self.clock.now_ms() + span_ms
        steps = 0
        while (due_ms := self.next_due_ms()) is not None and due_ms <= end_ms:
            steps = steps + 1 if due_ms <= self.clock.now_ms() else 0
            if steps > _STEPS_AT_ONCE_MAX:
                raise YardTrouble("something is due again and again without time passing")
            await self._move_to(due_ms)
        await self._move_to(end_ms)

    async def step(self, end_ms: int) -> bool:
        """Let time pass to the next thing that is due; False: nothing is, before the end."""
        await self.settle()
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > end_ms:
            return False
        await self._move_to(due_ms)
        return True

    def next_due_ms(self) -> int | None:
        """Tell when something happens next; None: nothing is expected."""
        due = (self.clock.next_ms(), self._machine.next_due_ms())
        return min((each for each in due if each is not None), default=None)

    async def set_exit(self, which: Which, exit_code: int, after_ms: int) -> int:
        """Let live containers exit so long after their start; give how many these are."""
        assert self._backend is not None, "the server is up"
        count = 0
        for task_id, container in self._backend.live():
            if fits(which, container):
                found = self._machine.tasks[task_id].named(container.name)
                script = replace(found.script, exit_code=exit_code, duration_ms=after_ms)
                self._machine.direct(task_id, script, container=container.name)
                count += 1
        await self.settle()
        return count

    def _market(self, market: SpotMarket) -> EndingMarket:
        return EndingMarket(
            percent=market.percent,
            price_micro_by_type=market.price_micro_by_type,
            supply=self.spot,
        )

    async def _move_to(self, at_ms: int) -> None:
        self.clock.move_to(at_ms)
        self._machine.tick()
        await self.settle()

    def _make_backend(self, _: Settings, store: Store, sink: OutputSink) -> PretendedBackend:
        self._backend = PretendedBackend(self._machine, store, sink, self._jobs)
        return self._backend

    def _settle_after_each(self, handlers: Handlers) -> Handlers:
        """Answer only once everything has happened that a call leads to."""

        def settled(handler: Handler) -> Handler:
            async def handle(call: Call, members: Any) -> Any:
                try:
                    return await handler(call, members)
                finally:
                    await self.settle()

            return handle

        return {key: settled(handler) for key, handler in handlers.items()}


async def _read_secrets(wanted: Collection[SecretReference]) -> Mapping[SecretReference, str]:
    """Pretended containers look at no secret: any will do."""
    return dict.fromkeys(wanted, "")
