"""`yard`: a server for one test, and what the test may let happen in it.

Owns the yard's life and its commands. Refuses to decide anything about jobs: that is the server's,
which is the real one.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from batchyard.cli.serving import World, make_backend, real_world
from batchyard.cli.settings import Settings
from batchyard.compute.port import Host
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.testing.behaviour import RUN_DEFAULT, Jobs, Which, fits, milliseconds
from batchyard.testing.clients import Clients
from batchyard.testing.ending import EndingBackend
from batchyard.testing.log_lines import errors_only
from batchyard.testing.server_thread import ServerThread
from batchyard.testing.trouble import NotInRealTime, YardTrouble
from batchyard.testing.virtual import VirtualWorld

#: When virtual time begins: always then, so that a test sees the same times each time.
START = datetime(2026, 1, 1, tzinfo=UTC)
#: More than any instance type has. What jobs get is what their environments allow.
MACHINE = Amount(cpu_milli=100_000_000, memory_mib=1_000_000_000, gpu_count=10_000)

_NOTICE = timedelta(minutes=2)
_LIMIT = timedelta(days=7)
_ENDED = ("SUCCEEDED", "FAILED")
#: DescribeJobs takes no more.
_IDS_PER_CALL = 100
_POLL_S = 0.05
_ANSWER_S_MAX = 30.0


class Yard:
    """A server that is up, and a hand in its world. Made by `yard`."""

    def __init__(
        self, server: ServerThread, clients: Clients, jobs: Jobs, world: VirtualWorld | None
    ) -> None:
        self._server = server
        self._clients = clients
        self._jobs = jobs
        self._world = world

    # ── who uses it ──────────────────────────────────────────────────────────────────────

    @property
    def endpoint(self) -> str:
        """What AWS clients take as endpoint URL."""
        return self._clients.url

    @property
    def region(self) -> str:
        return self._clients.region

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables with which any AWS client finds the yard."""
        return self._clients.variables()

    @property
    def environ(self) -> dict[str, str]:
        """The whole environment for a program that is to use the yard."""
        return self._clients.environ()

    def client(self, service: str, **options: Any) -> Any:
        """Make an AWS client: `batch`, `logs`, `ecs`, `ec2`, `sts`, or our own, `batchyard`."""
        return self._clients.client(service, **options)

    def in_environ(self) -> AbstractContextManager[None]:
        """Lead the AWS clients that are made meanwhile in this process to the yard."""
        return self._clients.in_environ()

    # ── time ─────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> datetime:
        """What time it is in the yard (UTC)."""
        if self._world is None:
            return datetime.now(UTC)
        return _datetime(self._world.clock.now_ms())

    def settle(self) -> None:
        """Wait until nothing more happens without time passing. Calls do so by themselves."""
        world = self._virtual("settle")
        self._server.call(world.settle)

    def advance(
        self,
        by: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let time pass, and everything happen that becomes due, each at its own time."""
        world = self._virtual("advance")
        span = by + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        span_ms = milliseconds(span)
        self._server.call(lambda: world.advance(span_ms))

    def advance_until(self, condition: Callable[[], object], *, limit: timedelta = _LIMIT) -> None:
        """Let time pass until the condition holds; it is asked whenever something has happened.

        Real time passes by itself. Raises `YardTrouble` if the condition does not hold within
        `limit`, or nothing more is to happen.
        """
        end_ms = milliseconds(limit) + _unix_ms(self.now)
        while not condition():
            if not self._step(end_ms):
                raise YardTrouble(f"at {self.now}, nothing that happens makes the condition true")

    def _step(self, end_ms: int) -> bool:
        """Let something happen; False: nothing does, before the end."""
        if self._world is None:
            time.sleep(_POLL_S)
            return _unix_ms(self.now) < end_ms
        world = self._virtual("advance_until")
        return self._server.call(lambda: world.step(end_ms))

    def finish(self, *job_ids: str, limit: timedelta = _LIMIT) -> list[dict[str, Any]]:
        """Let time pass until the jobs have ended; describe them in that order."""
        batch = self.client("batch")

        def describe() -> dict[str, dict[str, Any]]:
            pieces = [
                job_ids[at : at + _IDS_PER_CALL] for at in range(0, len(job_ids), _IDS_PER_CALL)
            ]
            found = [job for piece in pieces for job in batch.describe_jobs(jobs=piece)["jobs"]]
            return {job["jobId"]: job for job in found}

        def have_ended() -> bool:
            jobs = describe()
            if missing := set(job_ids) - set(jobs):
                raise YardTrouble(f"there are no such jobs: {', '.join(sorted(missing))}")
            return all(job["status"] in _ENDED for job in jobs.values())

        self.advance_until(have_ended, limit=limit)
        jobs = describe()
        return [jobs[job_id] for job_id in job_ids]

    # ── what jobs do ─────────────────────────────────────────────────────────────────────

    @property
    def jobs(self) -> Jobs:
        """What containers do that are started from now on."""
        self._virtual("jobs")
        return self._jobs

    def set_exit(self, which: Which, *, code: int, after: timedelta = timedelta(0)) -> None:
        """Let containers exit with `code`, so long after their start: those that run, and later
        ones.

        `which` is a pattern of job names, or a look at a `Container`.
        """
        world = self._virtual("set_exit")
        after_ms = milliseconds(after)
        self._jobs.behave(lambda each: fits(which, each), run=after, exit_code=code)
        self._server.call(lambda: world.set_exit(which, code, after_ms))

    def fail_pulls(self, image: str, *, reason: str | None = None) -> None:
        """Let images (a pattern) not be there, until `allow_pulls`."""
        self._virtual("fail_pulls")
        text = reason or (
            "CannotPullContainerError: Error response from daemon: pull access denied for"
            f" {image}, repository does not exist or may require 'docker login': denied: requested"
            " access to the resource is denied"
        )
        self._jobs.fail_pulls(image, text)

    def allow_pulls(self, image: str | None = None) -> None:
        """Let images be there again; None: all."""
        self._virtual("allow_pulls")
        self._jobs.allow_pulls(image)

    # ── what becomes of instances ────────────────────────────────────────────────────────

    def instances(self, environment: str | None = None) -> list[dict[str, Any]]:
        """List what is launched and has not ended, in the order of its launch."""
        client, found, token = self.client("batchyard"), [], None
        while True:
            asked = {"computeEnvironment": environment, "nextToken": token}
            answer = client.list_instances(**{name: each for name, each in asked.items() if each})
            found += answer["instances"]
            token = answer.get("nextToken")
            if token is None:
                return found

    def kill_instance(self, instance_id: str) -> None:
        """End an instance now, with everything on it. Raises `YardTrouble` if there is none."""
        self._interrupt(instance_id, notice_s=0, is_forced=True)

    def interrupt_spot(
        self, instance_id: str | None = None, *, notice: timedelta = _NOTICE
    ) -> list[str]:
        """Reclaim a Spot instance, or all of them; give their ids. They end after the notice."""
        if instance_id is not None:
            ids = [instance_id]
        else:
            ids = [
                each["instanceId"] for each in self.instances() if each["capacityType"] == "SPOT"
            ]
        for each in ids:
            self._interrupt(each, notice_s=milliseconds(notice) // 1000, is_forced=False)
        return ids

    def set_spot_capacity(self, count: int | None) -> None:
        """Let there be no Spot capacity (0) for new instances, or as much as is wanted (None).

        What runs goes on: see `interrupt_spot`. A job that waits for it is told that Spot prices
        are above what its environment pays.
        """
        world = self._virtual("set_spot_capacity")
        if count not in (0, None):
            raise ValueError("Spot capacity is 0 (there is none) or None (there is enough)")
        world.spot.has_ended = count == 0
        # Environments learn of prices when they are changed.
        batch = self.client("batch")
        for page in batch.get_paginator("describe_compute_environments").paginate():
            for each in page["computeEnvironments"]:
                if _is_spot(each):
                    name = each["computeEnvironmentName"]
                    batch.update_compute_environment(computeEnvironment=name, state=each["state"])

    def _interrupt(self, instance_id: str, *, notice_s: int, is_forced: bool) -> None:
        client = self.client("batchyard")
        try:
            wish_id = client.interrupt_instance(
                instanceId=instance_id, noticeSeconds=notice_s, force=is_forced
            )["wishId"]
        except client.exceptions.ClientException as error:
            raise YardTrouble(error.response["Error"]["Message"]) from error
        deadline = time.monotonic() + _ANSWER_S_MAX
        while not (answer := client.get_instance_wish(wishId=wish_id))["isSettled"]:
            if time.monotonic() > deadline:
                raise YardTrouble(f"the engine does not answer what was asked of {instance_id}")
            time.sleep(_POLL_S)
        if "refusal" in answer:
            raise YardTrouble(answer["refusal"])

    def _virtual(self, what: str) -> VirtualWorld:
        if self._world is None:
            raise NotInRealTime(
                f"{what} needs virtual time and pretended containers: yard(clock='virtual')"
            )
        self._jobs.check()
        return self._world


@contextmanager
def yard(  # noqa: PLR0913 -- everything has a default
    *,
    clock: Literal["virtual", "real"] = "virtual",
    start: datetime = START,
    run: timedelta = RUN_DEFAULT,
    exit_code: int = 0,
    seed: int = 0,
    machine: Amount = MACHINE,
    **settings: Any,
) -> Iterator[Yard]:
    """Bring up a server of one's own, and take it down again with everything in it.

    With `clock="virtual"` time stands still until it is moved, and containers are pretended: they
    run for `run` and exit with `exit_code` unless told otherwise; ids follow from `seed`, so that
    the same calls give the same answers, to the byte. With `clock="real"` the server
    is as `batchyard up` has it. `settings` are those of `batchyard up`.
    """
    if clock not in ("virtual", "real"):
        raise ValueError(f"clock is 'virtual' or 'real', not {clock!r}")
    with ExitStack() as stack:
        stack.enter_context(errors_only())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="batchyard-"))
        chosen = _settings(settings, Path(folder))
        jobs = Jobs(run=run, exit_code=exit_code)
        world = None
        if clock == "virtual":
            host = Host(host_id=HostId("pretended"), capacity=machine)
            world = VirtualWorld(start_ms=_unix_ms(start), host=host, jobs=jobs, seed=seed)
            server = ServerThread(chosen, world.world(chosen), world.loop)
        else:
            server = ServerThread(chosen, _real_world(), asyncio.new_event_loop())
        up = server.start()
        stack.callback(server.stop)
        if world is not None:
            world.know(up.find_task)
        clients = Clients(up.url, up.key, chosen.region)
        yield Yard(server, clients, jobs, world)
        jobs.check()


def _real_world() -> World:
    return replace(
        real_world(),
        make_backend=lambda settings, _, sink: EndingBackend(make_backend(settings, sink)),
    )


def _is_spot(environment: Mapping[str, Any]) -> bool:
    """Tell whether an environment, as AWS describes it, launches Spot instances."""
    resources = environment.get("computeResources", {})
    provider = resources.get("managedInstancesProvider", {})
    option = provider.get("instanceLaunchTemplate", {}).get("capacityOptionType")
    return "SPOT" in (resources.get("type"), option)


def _settings(given: Mapping[str, Any], folder: Path) -> Settings:
    values = {
        "port": 0,
        "data_dir": str(folder / "data"),
        "is_synchronous_full": False,
        "recording_days": 0,
        **given,
    }
    try:
        return msgspec.convert(values, type=Settings)
    except msgspec.ValidationError as error:
        raise ValueError(f"settings of the yard: {error}") from error


def _unix_ms(at: datetime) -> int:
    if at.tzinfo is None:
        raise ValueError(
            "start has no time zone: say which, as in datetime(2026, 1, 1, tzinfo=UTC)"
        )
    return milliseconds(at - datetime.fromtimestamp(0, UTC))


def _datetime(at_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms)
