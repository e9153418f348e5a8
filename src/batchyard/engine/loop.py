"""The live loop: take everything that waits, decide, commit once, then act.

Owns the state of the core and the order of things: wishes and reports become inputs, inputs
become an outcome, the outcome becomes durable, and only then are its effects sent. Refuses to
decide, and to know how a backend works. One task runs the loop, and nothing else touches the
state; there is no `await` between reading the state and changing it.
"""

import asyncio
from collections.abc import Sequence

import structlog

from batchyard.compute import port
from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.instance_uses import InstanceUse, use_of
from batchyard.core.state import State
from batchyard.core.turn import Outcome
from batchyard.core.went_ahead import Placements
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.clock import Clock, Timer
from batchyard.engine.deciding import decide
from batchyard.engine.dispatch import Dispatch, ForgetOutput, ReadSecrets
from batchyard.engine.ended_tasks import EndedTasks, read_ended_tasks
from batchyard.engine.facts import write_facts
from batchyard.engine.foresight import Foresight
from batchyard.engine.interruptions import InterruptionRate, Interruptions
from batchyard.engine.launch import Surroundings
from batchyard.engine.pace import Pace
from batchyard.engine.placements import explain_in, read_placements
from batchyard.engine.recording import (
    NewRecord,
    RecordedAt,
    Recorder,
    RecordingLimits,
    TurnRecord,
)
from batchyard.engine.recovery import (
    build_state,
    collector_at_rest,
    read_stored,
    settle_hosts,
    stop_given_up,
)
from batchyard.engine.snapshots import Snapshots
from batchyard.engine.wishes import Harvest, read_wishes
from batchyard.model.explanation import Explanation
from batchyard.model.ids import EnvironmentArn, JobId, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.status import EnvironmentKind
from batchyard.model.task_facts import TaskGlance
from batchyard.store import Connection, Leadership, Store, StoreTrouble
from batchyard.store.snapshots import read_all_snapshots

_log = structlog.get_logger()

#: Pause before a commit that the store refused is tried again, doubling up to the second figure.
_COMMIT_PAUSE_S = 0.1
_COMMIT_PAUSE_S_MAX = 5.0
#: Pause before wishes that the store could not read are looked for again.
_READ_PAUSE_S = 0.5
#: Pause between two pieces of an inventory while nothing else is to be done: callers go first.
_STOCKTAKING_PAUSE_S = 0.02

_NO_DELAY = LaunchTimes()
_NEVER = InterruptionRate()
_NO_RECORDING = RecordingLimits(days=0)
_NOTHING = Harvest(inputs=[], settled=[], has_more=False)


class NotInCharge(Exception):
    """This engine holds no state: another one leads, or it has not begun."""


class Engine:
    """The only writer of facts. `run` it in a task; cancel the task to stop it."""

    def __init__(  # noqa: PLR0913 -- what it stands between
        self,
        *,
        store: Store,
        backend: port.Backend,
        forget_output: ForgetOutput,
        read_secrets: ReadSecrets,
        surroundings: Surroundings,
        clock: Clock,
        launch_times: LaunchTimes = _NO_DELAY,
        interruption_rate: InterruptionRate = _NEVER,
        recording: RecordingLimits = _NO_RECORDING,
        pace: Pace | None = None,
        machine_architecture: str | None = None,
    ) -> None:
        self._store = store
        self._launch_times = launch_times
        self._interruptions = Interruptions(interruption_rate)
        self._recorder = Recorder(recording)
        self._backend = backend
        self._clock = clock
        self._clock_ms = clock.now_ms
        self._state = State()
        #: Set as soon as this engine is in charge.
        self._leadership: Leadership | None = None
        #: Reports that the loop has not taken yet.
        self._reports: list[i.Input] = []
        #: The API has written wishes since the last look.
        self._has_new_wishes = False
        #: The last look left wishes behind.
        self._has_backlog = False
        #: Cancels may be among what was left behind: until they are read, nothing is placed.
        self._has_unread_wishes = False
        self._pace = pace or Pace()
        self._placements = Placements()
        self._ended = EndedTasks()
        #: What can be told of wishes before they are taken.
        self.foresight = Foresight(lambda: self._state, launch_times, machine_architecture)
        #: How queues stand, as far as it is stored.
        self._snapshots = Snapshots({})
        self._wake = asyncio.Event()
        self._timer: Timer | None = None
        #: Wakes us when a rest is over: rests follow the work, not the clock.
        self._rest_timer: asyncio.TimerHandle | None = None
        self._is_ready = asyncio.Event()
        self._dispatch = Dispatch(
            backend=backend,
            store=store,
            kind_of=self._kind_of,
            report=self._take_report,
            forget_output=forget_output,
            read_secrets=read_secrets,
            surroundings=surroundings,
            clock_ms=self._clock_ms,
        )

    async def run(self) -> None:
        """Lead once no other engine does, recover, then serve until cancelled.

        Raises `LeadershipLost`, in a group, once another engine has taken over.
        """
        self._store.wake_on_wish(self._notice_wish)
        self._leadership = await self._store.lead(self._stand_by)
        await self._recover()
        self._is_ready.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch.run())
            tasks.create_task(self._listen())
            tasks.create_task(self._serve())
            tasks.create_task(self._store.keep_lead())

    async def wait_until_ready(self) -> None:
        """Return once everything live is loaded and the first effects are on their way.

        Or once another engine is found to be in charge: the API can be served beside it.
        """
        await self._is_ready.wait()

    def find_task(self, task_id: TaskId) -> JobId | None:
        """Name the job, child or node that a live attempt's task runs; None: there is none."""
        return self._state.job_by_task.get(task_id)

    def explain(self, job_id: JobId) -> Explanation | None:
        """Say why a job, child or node has not ended; None: it is not live. Raises `NotInCharge`.

        From what the engine holds between two turns; costs what it shows.
        """
        if self._leadership is None:
            raise NotInCharge
        return explain_in(self._state, self._placements, job_id, self._clock_ms())

    def find_seen_task(self, task_id: TaskId) -> JobId | None:
        """Name what a task runs, or ran if it ended lately; None: there is none such."""
        return self.find_task(task_id) or self._ended.find(task_id, self._clock_ms())

    def list_tasks(self, arn: EnvironmentArn) -> list[TaskGlance]:
        """Give the tasks of the live attempts in an environment, in the order of their placing."""
        return [
            TaskGlance(
                task_id=task_id,
                job_id=self._state.job_by_task[task_id],
                instance_id=attempt.instance_id,
                is_running=attempt.started_ms is not None,
                is_stopping=attempt.stop_cause is not None,
            )
            for task_id in self._state.tasks_by_environment.get(arn, ())
            if (job := self._state.job_of_task(task_id)) is not None
            and (attempt := job.progress.attempt) is not None
        ]

    def list_ended_tasks(self, arn: EnvironmentArn) -> list[TaskGlance]:
        """Give the tasks that ended lately in an environment, in the order of their ends."""
        return self._ended.list_in(arn, self._clock_ms())

    def find_use(self, instance_id: InstanceId) -> InstanceUse | None:
        """Say what is on an instance; None: it is not live, or another engine is in charge."""
        return use_of(self._state, instance_id)

    async def _stand_by(self) -> None:
        """Let others lead, and end what ran here until they took over: it has been given up."""
        if not self._is_ready.is_set():
            _log.info("standing_by", hint="another engine of this database is in charge")
            self._is_ready.set()
        try:
            await stop_given_up(self._store, self._backend)
        except (port.Trouble, StoreTrouble) as trouble:
            _log.warning("standing_by_troubled", reason=str(trouble))

    async def _recover(self) -> None:
        hosts = await self._backend.list_hosts()
        now_ms = self._clock_ms()
        puts = [i.PutHost(host_id=host.host_id, capacity=host.capacity) for host in hosts]
        stored, (self._state, outcome) = await self._store.read_long(
            lambda conn: self._load(conn, puts, now_ms)
        )
        self._snapshots = Snapshots(await self._store.read_long(read_all_snapshots))
        self._ended = await self._store.read_long(lambda conn: read_ended_tasks(conn, now_ms))
        self._placements = await self._store.read_long(read_placements)
        for instance in self._state.instances.values():
            self._interruptions.expect(instance.record)
        known = await self._backend.list_tasks()
        offered = [host.host_id for host in hosts]
        outcome.add(settle_hosts(self._state, offered, known, now_ms))
        _log.info(
            "state_recovered", live_jobs=len(self._state.jobs), tasks=len(known), hosts=len(hosts)
        )
        records = self._recorder.begin(stored, hosts=puts, known=known, now_ms=now_ms)
        await self._commit(outcome, [], now_ms, records)
        self._dispatch.send(outcome.effects)
        self._notice_wish()  # whatever was asked for while nobody looked

    def _load(
        self, conn: Connection, hosts: Sequence[i.PutHost], now_ms: int
    ) -> tuple[bytes | None, tuple[State, Outcome]]:
        with collector_at_rest():
            stored = read_stored(conn, self._launch_times)
            kept = self._recorder.keep(conn, stored)  # before the state takes it over
            return kept, build_state(stored, hosts, now_ms)

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._turn()

    async def _turn(self) -> None:
        """Take everything waiting as one batch, decide, commit once, then act."""
        harvest = await self._harvest()
        reports, self._reports = self._reports, []
        now_ms = self._clock_ms()
        reclaimed = self._interruptions.pop_due(now_ms)
        inputs = [*harvest.inputs, *reports, *reclaimed, i.Tick()]
        turn = TurnRecord(inputs=tuple(inputs), is_round_due=not self._has_unread_wishes)
        outcome = self._pace.measure(
            lambda: decide(self._state, inputs, now_ms, is_round_due=turn.is_round_due)
        )
        self._has_backlog |= outcome.is_partial
        records = self._pace.measure(
            lambda: self._recorder.record(self._state, turn, outcome.events, now_ms=now_ms)
        )
        await self._commit(outcome, harvest.settled, now_ms, records)
        self._dispatch.send(outcome.effects)
        self._pace.end_turn(wishes_taken=len(harvest.inputs), are_more_coming=self._has_new_wishes)
        self._set_timer()

    async def _harvest(self) -> Harvest:
        """Read the wishes that wait, if there may be any and it is time for them."""
        if not (self._has_new_wishes or self._has_backlog) or self._pace.rest_s():
            return _NOTHING
        self._has_new_wishes = False
        is_live = self._state.jobs.__contains__
        try:
            harvest = await self._store.read(
                lambda conn: self._pace.measure(
                    lambda: read_wishes(conn, is_live, self._launch_times)
                )
            )
        except StoreTrouble as trouble:
            _log.error("wishes_delayed", reason=str(trouble))
            self._has_backlog = True
            self._pace.rest_for(_READ_PAUSE_S)
            return _NOTHING
        self._has_backlog = harvest.has_more
        self._has_unread_wishes = harvest.has_more_wishes
        return harvest

    async def _commit(
        self,
        outcome: Outcome,
        settled: Sequence[int],
        now_ms: int,
        records: Sequence[NewRecord],
    ) -> None:
        """Make the outcome durable, however long that takes: the state is already ahead of it."""
        if outcome.events:
            self._snapshots.note_change()
            self._interruptions.note(outcome.events)
            self._placements.note(self._state, outcome.events)
            self._ended.note(outcome)
            self.foresight.note(outcome.events)
        snapshots = self._pace.measure(lambda: self._snapshots.take(self._state, now_ms))
        if not (outcome.events or settled or snapshots or records):
            return
        assert self._leadership is not None, "only an engine in charge has facts to write"
        at = RecordedAt(epoch=self._leadership.epoch, now_ms=now_ms)

        def write(conn: Connection) -> None:
            digest = write_facts(conn, outcome, settled, now_ms, snapshots)
            if records:
                self._recorder.write(conn, records, digest, at=at)

        work = self._leadership.guard(lambda conn: self._pace.measure(lambda: write(conn)))
        pause_s = _COMMIT_PAUSE_S
        while True:
            try:
                await self._store.write(work)
            except StoreTrouble as trouble:
                _log.error("commit_delayed", reason=str(trouble), events=len(outcome.events))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _COMMIT_PAUSE_S_MAX)
            else:
                break
        for event in outcome.events:
            _log_event(event)

    async def _listen(self) -> None:
        """Turn the backend's reports into inputs."""
        async for batch in self._backend.reports():
            for report in batch:
                self._take_report(report)

    def _take_report(self, report: port.Report | i.TaskTaken) -> None:
        self._reports.append(report)
        self._wake.set()

    def _notice_wish(self) -> None:
        self._has_new_wishes = True
        if not self._pace.rest_s():  # else the timer wakes us
            self._wake.set()

    def _set_timer(self) -> None:
        """Wake up when there is something to do that nobody will tell us of."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        deadlines = (
            self._state.next_deadline_ms(),
            self._interruptions.next_ms(),
            self._snapshots.next_ms(self._clock_ms()),
        )
        due_ms = min((at_ms for at_ms in deadlines if at_ms is not None), default=None)
        if due_ms is not None:
            self._timer = self._clock.call_at(due_ms, self._wake.set)
        pauses_s = [self._pace.rest_s()] * (self._has_new_wishes or self._has_backlog)
        pauses_s += [_STOCKTAKING_PAUSE_S] * self._recorder.has_more_to_do
        if pauses_s:
            loop = asyncio.get_running_loop()
            self._rest_timer = loop.call_later(min(pauses_s), self._wake.set)

    def _kind_of(self, arn: EnvironmentArn) -> EnvironmentKind:
        return self._state.environments[arn].kind


def _log_event(event: e.Event) -> None:
    """Log the life cycle; everything else at debug. No values that a caller chose but reasons."""
    match event:
        case e.AttemptStarted():
            _log.info("attempt_started", job_id=event.job_id)
        case e.AttemptStopping() if event.cause.is_preemption:
            _log.info("attempt_preempted", job_id=event.job_id, cause=event.cause)
        case e.JobSucceeded():
            _log.info("job_succeeded", job_id=event.job_id)
        case e.JobFailed():
            _log.info("job_failed", job_id=event.job_id, status_reason=event.status_reason)
        case e.EnvironmentSettled() | e.EnvironmentDeleted():
            _log.info("environment_changed", arn=event.arn, what=type(event).__name__)
        case e.QueueSettled() | e.QueueDeleted():
            _log.info("queue_changed", arn=event.arn, what=type(event).__name__)
        case e.InstanceLaunched():
            record = event.record
            _log.info(
                "instance_launched",
                instance_id=record.id,
                instance_type=record.instance_type,
                arn=record.environment_arn,
            )
        case e.InstanceTerminated():
            _log.info("instance_terminated", instance_id=event.instance_id, cause=event.cause)
        case e.HostChanged():
            _log.info("host_changed", host_id=event.host_id, capacity=str(event.capacity))
        case _:
            pass
