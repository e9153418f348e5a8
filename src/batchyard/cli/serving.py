"""One server put together from its parts, from settings to a clean stop.

Owns the order: lock and store, address, backend, engine, HTTP last; and the reverse on the way out.
Refuses to decide anything that a room decides. Requests are answered only once the engine is ready,
so that a client never talks to half a server; or once it stands by for another server's engine on
the same database, which takes the wishes written here.
"""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import click
import structlog

from batchyard.access.keys import AccessKey, KeyRing, load_or_create_development_key
from batchyard.access.sessions import SessionKeys
from batchyard.access.task_tokens import INSTANCE_METADATA_PATH, TaskTokens, load_or_create_secret
from batchyard.api import batch, ec2, ecs, logs, own, sts
from batchyard.api.batch.job_ids import JobIds
from batchyard.cli.settings import Settings
from batchyard.compute.choice import choose
from batchyard.compute.machine_share import MachineShare
from batchyard.compute.port import Network, OutputSink, Trouble
from batchyard.compute.secrets import SecretReader
from batchyard.compute.training import TrainingBackend
from batchyard.compute.training.backend import RunsHere
from batchyard.engine.catalogue import LaunchTimes, SpotMarket, facts_by_name
from batchyard.engine.clock import Clock, LoopClock, read_wall_clock_ms
from batchyard.engine.dispatch import ReadSecrets
from batchyard.engine.explainer import Explainer
from batchyard.engine.foresight import Foresight
from batchyard.engine.housekeeping import keep_house
from batchyard.engine.interruptions import InterruptionRate
from batchyard.engine.launch import Surroundings
from batchyard.engine.loop import Engine
from batchyard.engine.output import OutputRouter
from batchyard.engine.pace import Pace
from batchyard.engine.recording import RecordingLimits
from batchyard.engine.task_facts import live_task_describer, task_describer
from batchyard.logs import LogStore
from batchyard.logs.json_files import JsonFiles
from batchyard.model.ids import JobId, TaskId
from batchyard.sim.oracle import Oracle
from batchyard.store import Store
from batchyard.wire.app import AsgiApp
from batchyard.wire.call import Handlers
from batchyard.wire.instance_metadata import InstanceMetadata
from batchyard.wire.server import Server
from batchyard.wire.task_endpoint import DescribeTask, TaskEndpoint

_log = structlog.get_logger()


#: Where EC2 calls it otherwise than the kernel.
_ARCHITECTURES = {"aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Yard:
    """A server that is up."""

    url: str
    key: AccessKey
    #: Ends when a part of the server has failed, and says how.
    failed: asyncio.Future[None]
    #: Names the job, child or node that a live task runs.
    find_task: Callable[[TaskId], JobId | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a server finds around it; a test kit owns all of that."""

    clock: Clock
    #: Blocks. Raises `Trouble`.
    make_backend: Callable[[Settings, Store, OutputSink], RunsHere]
    #: What becomes of instances; None: as the settings say.
    launch_times: LaunchTimes | None = None
    #: None: from Secrets Manager and SSM.
    read_secrets: ReadSecrets | None = None
    #: What stands before the operations.
    guard: Callable[[Handlers], Handlers] = lambda handlers: handlers
    #: Where new ids come from; None: from chance.
    ids: JobIds | None = None
    #: How much of the loop the engine takes; None: as ever.
    pace: Pace | None = None
    #: Of the machine, as EC2 calls it; None: it is pretended.
    architecture: str | None = None
    #: Whether housekeeping rests between its steps, so that callers get their turn.
    has_rests: bool = True


def real_world() -> World:
    """Give the wall clock, and the containers of this machine."""
    machine = platform.machine()
    return World(
        clock=LoopClock(),
        make_backend=lambda settings, _, sink: make_backend(settings, sink),
        architecture=_ARCHITECTURES.get(machine, machine),
    )


@asynccontextmanager
async def open_yard(settings: Settings, world: World | None = None) -> AsyncIterator[Yard]:
    """Bring a server up, and take it down again. Containers that run are left running."""
    world = world or real_world()
    times = world.launch_times or launch_times(settings)
    clock, rest = world.clock, {} if world.has_rests else {"rest_s": 0.0}
    data_path = settings.data_path
    key, secret = _load_or_create_keys(settings)
    async with AsyncExitStack() as stack:
        store = Store.open(settings.db_url, is_synchronous_full=settings.is_synchronous_full)
        stack.push_async_callback(store.close)
        log_store = LogStore(store, clock_ms=clock.now_ms, **rest)
        secret_reader = SecretReader()
        stack.callback(secret_reader.close)
        files = JsonFiles(data_path / "json-logs")
        output = OutputRouter(streams=log_store, files=files)
        inner = await asyncio.to_thread(world.make_backend, settings, store, output)
        backend = TrainingBackend(inner, data_path=data_path)

        def url_seen_from(network: Network) -> str | None:
            return server.local_url if network is Network.HOST else server.task_url

        engine = Engine(
            store=store,
            backend=backend,
            forget_output=output.forget,
            read_secrets=world.read_secrets or secret_reader.read,
            surroundings=_surroundings(settings, url_seen_from, TaskTokens(secret)),
            launch_times=times,
            interruption_rate=_interruption_rate(settings),
            recording=_recording_limits(settings),
            clock=clock,
            pace=world.pace,
            machine_architecture=world.architecture,
        )
        describe_task = live_task_describer(store, engine.find_task)
        batch_handlers = _batch_handlers(settings, store, engine.foresight, world.ids)
        seer = Oracle(url=settings.db_url, launch_times=times, list_hosts=backend.list_hosts)
        explainer = Explainer(engine.explain, store, times, clock.now_ms)
        own_handlers = _own_handlers(store, engine, explainer, seer)
        other_handlers = {**logs.handlers(log_store), **sts.handlers(), **_views(store, engine)}
        server = Server(
            handlers=world.guard(batch_handlers | own_handlers | other_handlers),
            keys=_key_ring(settings, key, SessionKeys(secret)),
            host=settings.host,
            port=settings.port,
            extra_routes=_task_routes(settings, describe_task, secret),
            now_ms=clock.now_ms,
            signing_now_ms=read_wall_clock_ms,
        )
        server.bind()
        stack.push_async_callback(server.stop)
        await backend.open()
        stack.push_async_callback(_let_go, backend)
        days, results = settings.finished_job_retention_days, backend.folders
        house = partial(
            keep_house, store, log_store, files, clock, days=days, results=results, **rest
        )
        running = asyncio.ensure_future(_run(engine, house))
        stack.push_async_callback(_cancel, running)
        await _ready(engine, running)
        await server.start()
        yield Yard(server.url, key, running, engine.find_task)


def _load_or_create_keys(settings: Settings) -> tuple[AccessKey, bytes]:
    """Give the key of callers and the secret of the server, from the server's folder."""
    data_path = settings.data_path
    data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = load_or_create_development_key(data_path, settings.account_id)
    return key, load_or_create_secret(data_path)


def _surroundings(
    settings: Settings, url_seen_from: Callable[[Network], str | None], tokens: TaskTokens
) -> Surroundings:
    return Surroundings(
        folder_by_file_system=settings.file_systems,
        folder_by_prefix=_real_folders(settings.training_folders),
        environment=settings.job_environment,
        url_seen_from=url_seen_from,
        tokens=tokens,
        is_endpoint_given=settings.is_endpoint_given_to_jobs,
    )


def _task_routes(
    settings: Settings, describe_task: DescribeTask, secret: bytes
) -> Mapping[str, AsgiApp]:
    """Give what running tasks may ask the server about themselves."""
    tokens = TaskTokens(secret)
    tasks = TaskEndpoint(
        describe_task=describe_task,
        tokens=tokens,
        sessions=SessionKeys(secret) if settings.is_endpoint_given_to_jobs else None,
    )
    instances = InstanceMetadata(describe_task=describe_task, tokens=tokens)
    return {**tasks.routes(), INSTANCE_METADATA_PATH: instances}


def _interruption_rate(settings: Settings) -> InterruptionRate:
    return InterruptionRate(
        per_hour=settings.spot_interruptions_per_hour, seed=settings.spot_interruptions_seed
    )


def make_backend(settings: Settings, sink: OutputSink) -> RunsHere:
    """Build the backend of this machine as the settings say, or as it can be. Raises `Trouble`."""
    choice = choose(settings.data_path, settings.runtime, socket_path=settings.engine_socket)
    _log.info("backend_chosen", backend=choice.kind, why=choice.why)
    host_paths = mountable_folders(settings)
    share = _machine_share(settings)
    if choice.engine is not None:
        # Imported here: who runs containers directly need not wait for an HTTP client.
        from batchyard.compute.docker.backend import DockerBackend

        return DockerBackend(
            data_dir=settings.data_path,
            socket_path=choice.engine.socket_path,
            sink=sink,
            host_paths=host_paths,
            share=share,
            devices=_folders(settings.devices),
            is_privileged_allowed=settings.is_privileged_allowed,
            gpus=settings.gpus,
            network_range=settings.node_network,
        )
    # Imported here, too: it can be loaded on Linux alone, and a test kit runs elsewhere.
    from batchyard.compute.local import LocalBackend
    from batchyard.compute.local.detect import machine_capacity

    return LocalBackend(
        data_dir=settings.data_path,
        sink=sink,
        host_paths=host_paths,
        capacity=share.of(machine_capacity()),
        runtime=cast("Literal['auto', 'crun', 'runc']", settings.runtime),
        insecure_registries=settings.insecure_registries,
        devices=_folders(settings.devices),
        is_privileged_allowed=settings.is_privileged_allowed,
        gpus=settings.gpus,
        network_range=settings.node_network,
    )


def _recording_limits(settings: Settings) -> RecordingLimits:
    return RecordingLimits(
        days=settings.recording_days, byte_count_max=settings.recording_mib_max * 2**20
    )


def _own_handlers(store: Store, engine: Engine, explainer: Explainer, seer: Oracle) -> Handlers:
    return own.handlers(store, explain_job=explainer.explain, find_use=engine.find_use, seer=seer)


def _views(store: Store, engine: Engine) -> Handlers:
    """Give what shows our things as ECS and EC2 do."""
    service = ecs.Service(
        store=store,
        describe_task=task_describer(store, engine.find_seen_task),
        list_tasks=engine.list_tasks,
        list_ended_tasks=engine.list_ended_tasks,
        find_use=engine.find_use,
    )
    return {**ec2.handlers(store), **ecs.handlers(service)}


def _batch_handlers(
    settings: Settings, store: Store, foresight: Foresight, ids: JobIds | None
) -> Handlers:
    return batch.handlers(
        store,
        is_only_writer=settings.db_url.startswith("sqlite"),
        are_container_quota_shares_allowed=settings.are_container_quota_shares_allowed,
        foresight=foresight,
        ids=ids,
    )


def _machine_share(settings: Settings) -> MachineShare:
    vcpus = settings.machine_vcpus
    return MachineShare(
        cpu_milli=None if vcpus is None else int(vcpus * 1000),
        memory_mib=settings.machine_memory_mib,
        cpu_overcommit_per_mille=int(settings.cpu_overcommit * 1000),
        memory_overcommit_per_mille=int(settings.memory_overcommit * 1000),
    )


def launch_times(settings: Settings) -> LaunchTimes:
    """Give what the operator decides about instances; refuses prices of types there are not."""
    unknown = sorted(set(settings.spot_prices) - set(facts_by_name()))
    if unknown:
        raise click.UsageError(f"setting spot_prices: there is no instance type {unknown[0]}")
    prices = {name: round(usd * 1_000_000) for name, usd in settings.spot_prices.items()}
    return LaunchTimes(
        boot_ms=round(settings.instance_boot_s * 1000),
        idle_ms=round(settings.instance_idle_s * 1000),
        market=SpotMarket(percent=settings.spot_price_percent, price_micro_by_type=prices),
    )


def mountable_folders(settings: Settings) -> list[Path]:
    """Give the folders that jobs may mount; refuses those that would show them our keys."""
    of_aws = (*settings.file_systems.values(), *settings.training_folders.values())
    folders = _folders([*settings.host_paths, *of_aws])
    data_path = settings.data_path.resolve()
    for folder in folders:
        if data_path.is_relative_to(folder.resolve()):
            raise click.UsageError(
                f"Jobs may not mount {folder}: this server's own data, with its keys, is in"
                f" {settings.data_path}. Give jobs another folder, or move the data (data_dir)."
            )
    return folders


def _folders(paths: Iterable[str]) -> list[Path]:
    return [Path(path).expanduser().absolute() for path in paths]


def _real_folders(given: Mapping[str, str]) -> dict[str, str]:
    """Give folders as they really are, so that no link in them can lead elsewhere later."""
    return {prefix: str(_folders([path])[0].resolve()) for prefix, path in given.items()}


async def _let_go(backend: RunsHere) -> None:
    """Leave containers running; leave nothing else of ours if there are none."""
    try:
        if not await backend.leave_if_idle():
            _log.info("tasks_left_running", hint="the next start finds them again")
    except Trouble as trouble:
        _log.warning("backend_not_ended", reason=str(trouble))
    finally:
        await backend.close()


async def _run(engine: Engine, house: Callable[[], Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.run())
        tasks.create_task(house())


async def _ready(engine: Engine, running: asyncio.Future[None]) -> None:
    """Wait until the engine has recovered; raise what kept it from that."""
    ready = asyncio.ensure_future(engine.wait_until_ready())
    await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        await running


async def _cancel(running: asyncio.Future[None]) -> None:
    running.cancel()
    await asyncio.wait([running])


def _key_ring(settings: Settings, development: AccessKey, sessions: SessionKeys) -> KeyRing:
    configured = [
        AccessKey(
            id=key.access_key_id,
            secret=key.secret_access_key,
            account=key.account_id,
            principal_arn=f"arn:aws:iam::{key.account_id}:user/{key.user_name}",
            user_id=key.access_key_id,
        )
        for key in settings.keys
    ]
    return KeyRing([development, *configured], sessions)
