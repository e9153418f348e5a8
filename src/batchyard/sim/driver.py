"""The production core in virtual time: inputs at their moments, effects that become later inputs.

Owns the clock of a simulation and the heap of what comes. Decides nothing about jobs: each turn is
`core.cycle.run_turn`, as in the live engine, and every deadline (timeouts, instances that get ready
or were idle for long enough, time limits of heads) is asked of the core. Refuses to know where jobs
and fates come from, and what is measured.

Rules that hold here: time never goes back; what happens at one moment is one turn, in the order in
which it was scheduled, what callers ask for before what tasks report, as the engine has it; a task
ends once. So equal inputs and fates give equal events, in any process. A task that starts without a
delay is reported as started at once, without another round: that it runs frees nothing.

A driver owns the `State` that it is given. It holds only what is live and what comes: a trace of
any length is followed as it comes (`follow`).
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.cycle import run_turn
from batchyard.core.effects import Effect, StartTask, StopTask
from batchyard.core.state import State
from batchyard.core.step import step_all
from batchyard.engine.interruptions import InterruptionRate, Interruptions
from batchyard.model.ids import TaskId
from batchyard.sim.fate import Fate, FateOf

#: Told of the events of each turn, in their order, and of the moment.
Observer = Callable[[Sequence[e.Event], int], None]

#: An input, or what makes it at its moment.
Coming = i.Input | Callable[[], i.Input]

_NEVER = InterruptionRate()
_EXIT_ON_STOP = 143
#: What every task with a network of its own is told to have.
_ADDRESS = "10.0.0.1"
_TICK = i.Tick()
#: In one moment what was asked for goes before reports.
_ASKED, _REPORT = 0, 1


class Driver:
    """Runs a state forward. `at` and `follow` say what comes, `run` lets it."""

    def __init__(
        self,
        state: State,
        *,
        now_ms: int,
        fate_of: FateOf,
        interruption_rate: InterruptionRate = _NEVER,
    ) -> None:
        self.state = state
        self.now_ms = now_ms
        #: How many turns there were: what a simulation costs.
        self.turn_count = 0
        self._fate_of = fate_of
        self._interruptions = Interruptions(interruption_rate)
        self._observers: list[Observer] = []
        #: When, what was asked for first, in the order of entry.
        self._heap: list[tuple[int, int, int, i.Input]] = []
        self._entered = 0
        #: The fate of each live task, and when it ends, with the entry of that; None: never.
        self._fates: dict[TaskId, tuple[Fate, tuple[int, int] | None]] = {}
        #: Entries of ends that count no more.
        self._void: set[int] = set()
        #: What comes from outside in the order of time, if anything does.
        self._followed: list[Iterator[tuple[int, Coming]]] = []
        self._next_followed: list[tuple[int, Coming] | None] = []

    def observe(self, observer: Observer) -> None:
        """Let somebody see the events of every turn. He changes nothing."""
        self._observers.append(observer)

    def at(self, at_ms: int, happening: i.Input) -> None:
        """Let something happen at a moment that is not over."""
        assert at_ms >= self.now_ms, "time never goes back"
        self._enter(at_ms, _ASKED, happening)

    def follow(self, happenings: Iterable[tuple[int, Coming]]) -> None:
        """Take inputs with their moments, which never go back, as they come.

        One is taken from there when the one before it happens. What depends on how things stand is
        given as a function, which is called at its moment, before anything that is reported then.
        """
        self._followed.append(iter(happenings))
        self._next_followed.append(next(self._followed[-1], None))

    def adopt(self) -> None:
        """Give a fate to what runs already in the state: once, for the state of a live yard.

        Its run time counts from its own start; one that is over by then ends now. What was told to
        stop stops now.
        """
        for task_id, job_id in list(self.state.job_by_task.items()):
            attempt = self.state.jobs[job_id].progress.attempt
            assert attempt is not None, job_id
            start = StartTask(
                task_id=task_id,
                job_id=job_id,
                attempt_number=attempt.number,
                environment_arn=attempt.environment_arn,
                host_id=attempt.host_id,
            )
            fate = self._fate_of(start, self.now_ms)
            if attempt.started_ms is None:
                started_ms = max(self.now_ms, attempt.placed_ms + fate.start_ms)
                self._enter(started_ms, _REPORT, _start_of(task_id, started_ms))
            else:
                started_ms = attempt.started_ms
            self._expect_end(task_id, fate, started_ms)
            if attempt.stop_cause is not None:
                self._stop(task_id, fate.stop_ms)
        for instance in self.state.instances.values():
            self._interruptions.expect(instance.record)

    def next_ms(self) -> int | None:
        """Tell when something happens next; None: nothing ever will."""
        self._drop_void()
        times = [
            self._heap[0][0] if self._heap else None,
            self.state.next_deadline_ms(),
            self._interruptions.next_ms() if self._is_busy() else None,
            *(each[0] for each in self._next_followed if each is not None),
        ]
        found = min((at_ms for at_ms in times if at_ms is not None), default=None)
        return None if found is None else max(found, self.now_ms)

    def run(self, until_ms: int | None = None) -> None:
        """Let everything happen that is due until then, that moment included.

        Without an end: until nothing more can happen by itself. Observers may raise to end it.
        """
        while (at_ms := self.next_ms()) is not None and (until_ms is None or at_ms <= until_ms):
            self._turn(at_ms)
        if until_ms is not None:
            self.now_ms = max(self.now_ms, until_ms)

    def _turn(self, at_ms: int) -> None:
        """Take everything that is due as one batch, decide, then act: as the engine does."""
        self.now_ms = at_ms
        self.turn_count += 1
        inputs = self._take_due(at_ms)
        outcome = run_turn(self.state, [*inputs, _TICK], at_ms)
        events = outcome.events
        if outcome.is_partial:
            for each in inputs:
                if isinstance(each, i.DeleteQueue | i.DeleteQuotaShare):
                    self.at(at_ms, each)
        effects = outcome.effects
        while effects:
            started = self._carry_out(effects)
            if not started:
                break
            more = step_all(self.state, started, at_ms)
            events.extend(more.events)
            effects = more.effects
        if not events and not inputs:
            # What was due was nobody's any more: let time pass, whatever the core says.
            self.now_ms += 1
            return
        self._interruptions.note(events)
        for observer in self._observers:
            observer(events, at_ms)

    def _take_due(self, at_ms: int) -> list[i.Input]:
        due: list[i.Input] = []
        for index, source in enumerate(self._followed):
            while (each := self._next_followed[index]) is not None and each[0] <= at_ms:
                due.append(each[1]() if callable(each[1]) else each[1])
                self._next_followed[index] = next(source, None)
        while self._heap and self._heap[0][0] <= at_ms:
            _, _, entry, happening = heapq.heappop(self._heap)
            if entry in self._void:
                self._void.discard(entry)
                continue
            if isinstance(happening, i.TaskEnded):
                self._fates.pop(happening.task_id, None)
            due.append(happening)
        due += self._interruptions.pop_due(at_ms)
        return due

    def _carry_out(self, effects: Sequence[Effect]) -> list[i.TaskStarted]:
        """Do what the core asks for; give the tasks that started at once."""
        started: list[i.TaskStarted] = []
        for effect in effects:
            if isinstance(effect, StartTask):
                if effect.task_id in self._fates:
                    continue
                fate = self._fate_of(effect, self.now_ms)
                started_ms = self.now_ms + fate.start_ms
                report = _start_of(effect.task_id, started_ms)
                if fate.start_ms:
                    self._enter(started_ms, _REPORT, report)
                else:
                    started.append(report)
                self._expect_end(effect.task_id, fate, started_ms)
            elif isinstance(effect, StopTask) and effect.task_id in self._fates:
                fate, _ = self._fates[effect.task_id]
                self._stop(effect.task_id, min(effect.grace_ms, fate.stop_ms))
        return started

    def _is_busy(self) -> bool:
        """Tell whether anything runs or comes: else idle Spot capacity alone would be reclaimed."""
        return bool(self._fates or self._heap) or any(self._next_followed)

    def _expect_end(self, task_id: TaskId, fate: Fate, started_ms: int) -> None:
        end = None
        if fate.run_ms is not None:
            at_ms = max(self.now_ms, started_ms + fate.run_ms)
            report = i.TaskEnded(
                task_id=task_id, at_ms=at_ms, exit_code=fate.exit_code, reason=fate.reason
            )
            end = (at_ms, self._enter(at_ms, _REPORT, report))
        self._fates[task_id] = (fate, end)

    def _stop(self, task_id: TaskId, stop_ms: int) -> None:
        """Let a task end because it was told to, unless its own end comes first."""
        fate, end = self._fates[task_id]
        at_ms = self.now_ms + stop_ms
        if end is not None:
            if end[0] <= at_ms:
                return
            self._void.add(end[1])
        report = i.TaskEnded(task_id=task_id, at_ms=at_ms, exit_code=_EXIT_ON_STOP, reason=None)
        self._fates[task_id] = (fate, (at_ms, self._enter(at_ms, _REPORT, report)))

    def _drop_void(self) -> None:
        while self._heap and self._heap[0][2] in self._void:
            self._void.discard(heapq.heappop(self._heap)[2])

    def _enter(self, at_ms: int, rank: int, happening: i.Input) -> int:
        self._entered += 1
        heapq.heappush(self._heap, (at_ms, rank, self._entered, happening))
        return self._entered


def _start_of(task_id: TaskId, at_ms: int) -> i.TaskStarted:
    return i.TaskStarted(task_id=task_id, at_ms=at_ms, address=_ADDRESS)
