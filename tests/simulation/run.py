"""One run of a seed: the world around the server, its time, its faults, and its checks.

Drives everything one callback at a time, so that the server can die between any two. When all that
was asked has been asked, faults end, everything gets room, and all work must end.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import structlog

from batchyard.compute.port import Host, Trouble
from batchyard.core.check import check
from batchyard.core.events import AttemptEnded, Event, InstanceDraining
from batchyard.core.transitions import InvariantBroken
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, JobId
from batchyard.model.records import TerminationCause
from batchyard.store import Store, StoreTrouble
from tests.simulation.callers import Callers
from tests.simulation.faults import CRASH_AFTER_COMMIT, CRASHES_MAX, Faults
from tests.simulation.machine import Scripts, WatchedMachine
from tests.simulation.observer import Broken, Observer
from tests.simulation.records import Records
from tests.simulation.replays import check_replays
from tests.simulation.restored import compare, restored
from tests.simulation.schedule import Schedule
from tests.simulation.server import Server
from tests.simulation.turns import Turns
from tests.simulation.verdicts import Verdicts

_START_MS = 1_800_000_000_000
#: Virtual time that all work may take to end once faults are over.
_LIMIT_S = 24 * 3600.0
_STEPS_MAX = 400_000
#: More callbacks in one moment than any batch of work needs.
_STEPS_PER_MOMENT_MAX = 20_000
#: How often it is looked whether all work has ended.
_LOOK_S = 15.0
_RESTORE_CHANCE = 0.1
#: Of each host, once faults are over: enough for all that is ever asked for at once.
_ROOMY = Amount(cpu_milli=64_000, memory_mib=262_144)


class Found(Exception):
    """A run that broke a rule."""


@dataclass(slots=True)
class Result:
    """What a run came to."""

    seed: int
    digest: str = ""
    virtual_s: float = 0.0
    steps: int = 0
    commits: int = 0
    restores: int = 0
    replayed_turns: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    job_count: int = 0


class Run:
    """One seed's world."""

    def __init__(self, schedule: Schedule, folder: Path) -> None:
        self.schedule = schedule
        self.faults = Faults(schedule.seed, schedule.faults)
        self.chance = Random(f"{schedule.seed}/run")
        self.now_s = 0.0
        self.offset_ms = _START_MS
        self.trace = hashlib.sha256()
        self.log: list[str] | None = None
        self.result = Result(seed=schedule.seed)
        self.observer = Observer()
        self.verdicts = Verdicts(self.observer.accepted)
        self.turns = Turns(self.observer)
        self.hosts = self._draw_hosts()
        self.scripts = Scripts(schedule.seed, self.faults)
        self.machine = WatchedMachine(
            now_ms=self.clock_ms, hosts=self.hosts, scripts=self.scripts, observer=self.observer
        )
        self.path = folder / "yard.db"
        shutil.copyfile(empty_store(), self.path)
        self.records = Records(self.path)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self.server: Server | None = None
        self._lives = 0
        self._seen_calls = 0
        self._is_over = False
        #: Callbacks run since time last moved.
        self._spun = 0
        self.callers = Callers(self)
        self._set_the_scene()

    # -- time -------------------------------------------------------------------------------------

    def clock_ms(self) -> int:
        return round(self.now_s * 1000) + self.offset_ms

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Let something happen in the world outside of the server."""
        self._timer_count += 1
        heapq.heappush(self._timers, (self.now_s + delay_s, self._timer_count, what))

    def note(self, *what: object) -> None:
        """Write a line of the trace."""
        line = f"{self.now_s:.6f} {self.clock_ms()} " + " ".join(str(each) for each in what)
        self.trace.update(line.encode() + b"\n")
        if self.log is not None:
            self.log.append(line)

    # -- the run ----------------------------------------------------------------------------------

    def go(self) -> Result:
        """Run to the end. Raises `Found`."""
        try:
            while not self._is_over:
                self._step()
            self.result.replayed_turns = check_replays(self.path)
        except (Broken, InvariantBroken, AssertionError, KeyError, ValueError) as error:
            raise Found(f"{type(error).__name__}: {error}") from error
        finally:
            self.faults.are_over = True
            if self.server is not None:
                self.server.end()
            self.records.close()
        result = self.result
        result.digest, result.virtual_s = self.trace.hexdigest(), self.now_s
        result.counts, result.job_count = dict(self.faults.counts), len(self.observer.accepted)
        return result

    def _step(self) -> None:
        self.result.steps += 1
        if self.result.steps > _STEPS_MAX:
            raise Broken("the run takes too many steps")
        server = self.server
        if server is None or not server.loop.step():
            self._advance()
            return
        self._spun += 1
        if self._spun > _STEPS_PER_MOMENT_MAX:
            raise Broken("the server spins: it works and works, and time stands still")
        self._look(server)
        if self.server is server and self._crashes(server):
            self.crash("crash")

    def _look(self, server: Server) -> None:
        """See what the last callback has made true."""
        if server.loop.thread_call_count != self._seen_calls:
            self._seen_calls = server.loop.thread_call_count
            events = list(self.records.new_events())
            self._see(events)
            if events:
                self._check(server)
        server.backend.check()
        if server.loop.failures:
            raise Broken(f"a callback failed: {server.loop.failures[0]}")
        if server.running.done():
            self._bury(server)

    def _see(self, events: Iterable[Event]) -> None:
        for event in events:
            self.note(event)
            self.observer.see(event)
            self.verdicts.see(event)
            self.turns.see(event)
            self.callers.see(event)
            if isinstance(event, AttemptEnded):
                self._check_ended(event.job_id)
            if isinstance(event, InstanceDraining) and event.cause is TerminationCause.INTERRUPTED:
                self.faults.counts["interruption"] += 1

    def _check_ended(self, job_id: JobId) -> None:
        """Nothing is given up that runs on."""
        for task_id in self.machine.live_tasks():
            if self.observer.job_by_task[task_id] == job_id:
                raise Broken(f"an attempt of {job_id} has ended, and its task {task_id} lives")

    def _check(self, server: Server) -> None:
        self.result.commits += 1
        state = server.engine._state
        try:
            check(state)
        except InvariantBroken as broken:
            # A host that gives less than before may for a while be fuller than it is.
            if "over-full" not in str(broken) or not self.faults.counts["smaller_host"]:
                raise
        self._check_records()
        if self.chance.random() < _RESTORE_CHANCE and not self.records.unsettled():
            again = restored(self.path, self.machine.hosts, self.clock_ms())
            is_crowded = bool(self.faults.counts["smaller_host"])
            compare(state, again, is_crowded=is_crowded)
            self.result.restores += 1

    def _check_records(self) -> None:
        """Records say what the events say."""
        for job_id, name, status in self.records.jobs():
            if job_id not in self.observer.name_by_id:
                self.observer.name_by_id[job_id] = name
            seen = self.observer.jobs.get(job_id)
            expected = "SUBMITTED" if seen is None else seen.status
            if {status, expected} != {"STARTING", "SCHEDULED"} and status != expected:
                raise Broken(f"{job_id} is {status} in its record and {expected} by its events")
        ledger, holdings = self.observer.consumables, self.records.holdings()
        for arn in ledger.there:
            counted = ledger.held[arn], ledger.used_up[arn]
            if holdings.get(arn, counted) != counted:
                raise Broken(f"{arn} has {holdings[arn]} in its record and {counted} by its events")

    def _bury(self, server: Server) -> None:
        """A server that ended by itself: trouble at its start is allowed, nothing else."""
        error = server.running.exception()
        if not isinstance(error, (Trouble, StoreTrouble)):
            raise Broken(f"the engine ended: {error!r}") from error
        self.note("server ended", error)
        self.crash("start_trouble")

    # -- faults -----------------------------------------------------------------------------------

    def _crashes(self, server: Server) -> bool:
        if self._lives > CRASHES_MAX:
            return False
        has_worked = server.loop.thread_call_count != self._seen_calls
        return self.faults.happens("crash", CRASH_AFTER_COMMIT if has_worked else None)

    def crash(self, why: str) -> None:
        """Let the server die where it is, and start anew after a while."""
        assert self.server is not None
        self.note(why)
        server, self.server = self.server, None
        self.machine.on_change = None
        server.end()
        self.callers.note_crash()
        if why == "start_trouble":
            self.faults.counts[why] += 1
        self._see(self.records.new_events())
        self.observer.as_asked = self.records.in_transition()
        self._change_hosts()
        self.after(self.chance.choice((0.0, 0.5, 20.0)), self._boot)

    def _change_hosts(self) -> None:
        hosts = list(self.hosts)
        if len(hosts) > 1 and self.faults.happens("lost_host", 0.4):
            lost = hosts.pop(self.faults.dice("lost_host").randrange(len(hosts)))
            self._lose_tasks_on(lost.host_id)
        if self.faults.happens("smaller_host", 0.4):
            first = hosts[0]
            half = Amount(
                cpu_milli=first.capacity.cpu_milli // 2, memory_mib=first.capacity.memory_mib // 2
            )
            hosts[0] = Host(host_id=first.host_id, capacity=half)
        self.machine.hosts = hosts

    def _lose_tasks_on(self, host_id: HostId) -> None:
        for task_id in self.machine.live_tasks():
            job = self.observer.jobs[self.observer.job_by_task[task_id]]
            if any(each == host_id for each, _, _ in job.held.values()) or not job.held:
                self.machine.lose(task_id)

    def _lose_task(self) -> None:
        live = self.machine.live_tasks()
        if live and self.faults.happens("lost_task", 0.7):
            task_id = self.faults.dice("lost_task").choice(live)
            self.note("lost", task_id)
            self.machine.lose(task_id)

    def _jump(self) -> None:
        if self.faults.happens("clock_jump", 0.8):
            jump_s = self.faults.dice("clock_jump").choice((-3600, -30, -1, 1, 45, 3600))
            self.offset_ms += jump_s * 1000
            self.note("clock jumps by", jump_s)

    # -- the world --------------------------------------------------------------------------------

    def _draw_hosts(self) -> list[Host]:
        names = ["one", "two"] if self.chance.random() < 0.4 else ["one"]
        return [
            Host(
                host_id=HostId(name),
                capacity=Amount(cpu_milli=self.chance.choice((8, 12)) * 1000, memory_mib=32_768),
            )
            for name in names
        ]

    def _set_the_scene(self) -> None:
        self.after(0.0, self._boot)
        last_s = 1.0
        for item in self.schedule.items:
            last_s = max(last_s, item.at_ms / 1000)
            self.after(item.at_ms / 1000, partial(self.callers.ask, item))
        for _ in range(4):
            for kind, what in (
                ("lost_task", self._lose_task),
                ("clock_jump", self._jump),
                ("reclaimed_instance", self.callers.reclaim),
            ):
                if self.faults.may(kind):
                    self.after(self.chance.random() * (last_s + 30), what)
        self.after(last_s + 60.0, self._end_faults)

    def _boot(self) -> None:
        if self.server is not None:
            return
        self._lives += 1
        self.note("boot", self._lives)
        self._seen_calls = 0
        self.server = Server(
            path=self.path,
            machine=self.machine,
            faults=self.faults,
            seed=f"{self.schedule.seed}/{self._lives}",
            start_s=self.now_s,
            clock_ms=self.clock_ms,
        )

    def _advance(self) -> None:
        """Nothing is ready: let time go on to whatever is next."""
        server = self.server
        due = [self._timers[0][0]] if self._timers else []
        machine_ms = self.machine.next_due_ms()
        if machine_ms is not None:
            due.append(max(self.now_s, (machine_ms - self.offset_ms) / 1000))
        loop_s = None if server is None else server.loop.next_timer_s()
        if loop_s is not None:
            due.append(loop_s)
        if not due:
            raise Broken("everything waits, and nothing can happen any more")
        if min(due) > self.now_s:
            self.now_s, self._spun = min(due), 0
        if machine_ms is not None and machine_ms <= self.clock_ms():
            self.machine.tick()
        if server is not None:
            server.loop.advance(self.now_s)
        while self._timers and self._timers[0][0] <= self.now_s:
            heapq.heappop(self._timers)[2]()

    # -- the end ----------------------------------------------------------------------------------

    def _end_faults(self) -> None:
        """From here on everything works, and there is room for everybody."""
        self.note("faults are over")
        self.faults.are_over = True
        self.scripts.are_finite = True
        self._end_s = self.now_s + _LIMIT_S
        if self.server is not None:
            self.crash("restart")
        self.machine.hosts = [Host(host_id=each.host_id, capacity=_ROOMY) for each in self.hosts]
        self.callers.give_room()
        self.after(1.0, self._see_whether_all_ended)

    def _see_whether_all_ended(self) -> None:
        self.machine.finish_everything()
        if self.server is not None:
            self.server.backend.redeliver()
        left = self._left()
        if not left:
            self.callers.check_kept()
            self._is_over = True
            return
        if self.now_s > self._end_s:
            raise Broken(f"work never ends: {left[:5]}; {self._explained()}")
        self.after(_LOOK_S, self._see_whether_all_ended)

    def _explained(self) -> str:
        """Say why the first job that has not ended has not."""
        open_jobs = [each for each, _, status in self.records.jobs() if not status.is_terminal]
        if self.server is None or not self.server.is_ready or not open_jobs:
            return "nobody can say why"
        return str(self.server.engine.explain(open_jobs[0]))

    def _left(self) -> list[str]:
        """Name what has not come to its end."""
        left = self.callers.unanswered() + self.records.unsettled()
        left += [
            f"job {name} is {status}"
            for _, name, status in self.records.jobs()
            if not status.is_terminal
        ]
        return left + [f"task {task_id} is kept" for task_id in self.machine.tasks]


_template: list[Path] = []


def empty_store() -> Path:
    """Give the file of a store without anything: made once, since that takes longer than a run."""
    if not _template:
        path = Path(tempfile.mkdtemp(prefix="batchyard-simulation-")) / "empty.db"
        store = Store.open(f"sqlite:///{path}", is_synchronous_full=False)
        store._database.close()
        _template.append(path)
    return _template[0]


def be_quiet() -> None:
    """Let the engine log nothing: what happens is in the trace."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run(schedule: Schedule, *, log: list[str] | None = None) -> Result:
    """Run a schedule in a folder of its own. Raises `Found`."""
    base = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="batchyard-simulation-", dir=base if base.is_dir() else None
    ) as folder:
        world = Run(schedule, Path(folder))
        world.log = log
        return world.go()
