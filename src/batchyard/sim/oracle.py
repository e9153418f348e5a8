"""How a server asks for the future: a process for each question, and one question at a time.

Owns the processes' number, their time, and their end: one that takes too long is killed. So neither
the engine nor a caller ever waits for a simulation, and a machine with two cores keeps one. Refuses
to know what is in a future.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog
from msgspec.structs import replace

from batchyard.api.own.futures import Asked, TooBusy, Unforeseen
from batchyard.compute.port import Host
from batchyard.engine.catalogue import LaunchTimes
from batchyard.model.forecast import Future
from batchyard.model.refusal import client_exception
from batchyard.model.what_if import Comparison
from batchyard.sim.looking import Limits
from batchyard.sim.task import Answer, Offer, Task

_log = structlog.get_logger()

#: Ours: for all runs of a forecast, and of both sides of a comparison.
_FORECAST_S = 8.0
_COMPARISON_S = 30.0
#: Ours: what loading the state of a large yard may take besides, on a busy machine.
_LOADING_S_MAX = 120.0
#: Ours: questions that wait for another one's answer.
_WAITING_MAX = 8


class Oracle:
    """Answers questions about the future of one yard."""

    def __init__(
        self,
        *,
        url: str,
        launch_times: LaunchTimes,
        list_hosts: Callable[[], Awaitable[Sequence[Host]]],
    ) -> None:
        self._url = url
        self._launch_times = launch_times
        self._list_hosts = list_hosts
        self._turn = asyncio.Lock()
        self._waiting_count = 0

    async def foresee(self, asked: Asked) -> Future | None:
        """Look ahead for a job or a queue; None: it is not live, or does not wait."""
        return (await self._answer(asked, _FORECAST_S)).future

    async def compare(self, asked: Asked) -> Comparison:
        """Look at what is and at what would be."""
        found = await self._answer(asked, _COMPARISON_S)
        if found.refusal is not None:
            raise client_exception(found.refusal)
        assert found.comparison is not None, "a comparison or a refusal"
        return found.comparison

    async def _answer(self, asked: Asked, wall_s: float) -> Answer:
        task = Task(
            url=self._url,
            offers=tuple(
                Offer(host_id=each.host_id, capacity=each.capacity)
                for each in await self._list_hosts()
            ),
            launch_times=self._launch_times,
            place=asked.place,
            now_ms=asked.now_ms,
            seed=asked.seed,
            limits=replace(Limits(), wall_s=wall_s),
            job_id=asked.job_id,
            queue_arn=asked.queue_arn,
            changes=asked.changes,
        )
        if self._waiting_count >= _WAITING_MAX:
            raise TooBusy
        self._waiting_count += 1
        try:
            async with self._turn:
                return await _ask(task, wall_s + _LOADING_S_MAX)
        finally:
            self._waiting_count -= 1


async def _ask(task: Task, limit_s: float) -> Answer:
    process = await asyncio.create_subprocess_exec(
        # -P: what lies in the operator's current folder must not be imported as root.
        *(sys.executable, "-P", "-m", "batchyard.sim.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(msgspec.json.encode(task))
    except TimeoutError:
        raise Unforeseen("it took too long to read what is live") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        _log.error("future_not_seen", code=process.returncode, reason=_last_line(errors))
        raise Unforeseen("the process that looks ahead has failed: see the server's log")
    return msgspec.json.decode(output, type=Answer)


def _last_line(errors: bytes) -> str:
    """Give what says most of a traceback; it names no values of jobs."""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
