"""What the containers of a task stand on: its network, what they share, its volumes, its GPUs.

Owns all of it from the task's first container to its last, and the bridge network that tasks with
an address of their own are in. Decides how a refusal is told. Refuses to know when containers
start.

The network is the engine's own kind (a bridge with the yard's name), in a block of the operator's
range; the host has its first address, and the one at which SDKs look for a task's endpoint, where
we may give it that. Unlike the direct runtime's, it forwards beyond the host as the engine does.
"""

import asyncio
import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import structlog

from batchyard.compute.docker.engine_api import EngineApi, EngineError, Json
from batchyard.compute.docker.holder import (
    HOLDER_COMMAND,
    HOLDER_IMAGE,
    NoHolder,
    holder_archive,
)
from batchyard.compute.docker.shape import EngineFacts, Refused, Rules, host_name_of
from batchyard.compute.docker.task import NAME_PREFIX, Task
from batchyard.compute.local.shapes import GpuShape
from batchyard.compute.local.supervisor.devices import GpuBook, NotGiven
from batchyard.compute.local.supervisor.netlink import Netlink
from batchyard.compute.local.supervisor.network import ROUTES_FILE, Range
from batchyard.compute.local.supervisor.refusals import clip
from batchyard.model.addresses import TASK_ENDPOINT_ADDRESS

LABEL_YARD: Final = "batchyard.yard"
LABEL_TASK: Final = "batchyard.task"

_SHARED: Final = "TASK"
_HOST: Final = "HOST"
_OWN: Final = "OWN"
_MEBIBYTE: Final = 1 << 20
_LINK_NAME_LENGTH: Final = 15
_HOST_PREFIX_LENGTH: Final = 32

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """How a task's containers are to be made."""

    network_mode: str
    process_mode: str
    ipc_mode: str
    name_by_volume: Mapping[str, str]


class Ground:
    """What the tasks of one yard stand on."""

    def __init__(  # noqa: PLR0913  # what it stands between
        self,
        api: EngineApi,
        *,
        yard: str,
        rules: Rules,
        network_range: str,
        gpus: Sequence[GpuShape],
        gpu_control_paths: Sequence[str],
    ) -> None:
        self._api = api
        self._yard = yard
        self.rules = rules
        self.gpus = list(gpus)
        self.gpu_control_paths = list(gpu_control_paths)
        self._book = GpuBook()
        self._range = Range(network_range)
        self.network_name = f"{NAME_PREFIX}{yard}"
        self._link_name = f"by-{yard}"[:_LINK_NAME_LENGTH]
        self._has_network = False
        self._is_host_addressed = False
        self._has_holder_image = False
        self._lock = asyncio.Lock()

    def labels(self, task_id: str) -> dict[str, str]:
        """Give the labels by which what is made for a task is found again."""
        return {LABEL_YARD: self._yard, LABEL_TASK: task_id}

    # -- one task -------------------------------------------------------------------------------

    async def make(self, task: Task, facts: EngineFacts) -> Footing:
        """Make what a task's containers share; what is there already is used.

        Raises `Refused`, and what the engine raises.
        """
        spec = task.spec
        if _HOST in (spec["processes"], spec["ipc"]) and not self.rules.is_privileged_allowed:
            text = "sharing the host's processes or IPC objects is not allowed on this host"
            raise Refused(clip("CannotCreateContainerError", text))
        network = "host"
        if spec["network"] == _OWN:
            await self._make_network()
            network = self.network_name
        holder = ""
        if _needs_holder(task):
            holder = "container:" + await self._make_holder(task, facts, network)
        names = await self._make_volumes(task)
        return Footing(
            network_mode=holder if holder and network != "host" else network,
            process_mode=_mode_of(spec["processes"], holder if task.is_group else "", alone=""),
            ipc_mode=_mode_of(spec["ipc"], holder if task.is_group else "", alone="private"),
            name_by_volume=names,
        )

    async def release(self, task: Task) -> None:
        """Take back what the task had while it ran. What its containers hang on stays as long as
        they do."""
        self._book.give_back(task.task_id)
        if _needs_holder(task):
            await self._api.kill(_holder_name(task), "SIGKILL")

    async def clear(self, task: Task) -> None:
        """Remove everything but the task's containers, which are gone."""
        if _needs_holder(task):
            await self._api.remove(_holder_name(task), is_forced=True)
        for name in await self._api.list_volumes(f"{LABEL_TASK}={task.task_id}"):
            await self._api.remove_volume(name)

    def take_gpus(self, task: Task) -> None:
        """Take the GPUs of each of the task's containers. Raises `Refused`."""
        for unit in task.units:
            if unit.end is not None or unit.gpus:
                continue
            try:
                count = unit.spec["limits"]["gpu_count"]
                taken = self._book.take(task.task_id, self.gpus, count)
            except NotGiven as error:
                raise Refused(clip("CannotCreateContainerError", str(error))) from error
            unit.gpus = tuple(gpu["id"] for gpu in taken)

    def keep_gpus(self, task: Task) -> None:
        """Note the GPUs that a task has had since before this server."""
        names = {name for unit in task.units for name in unit.gpus}
        held: list[GpuShape] = [{"id": name, "paths": []} for name in sorted(names)]
        self._book.take(task.task_id, held, len(held))

    async def address_of(self, task: Task) -> str | None:
        """Tell the task's own address; None where its network is the host's."""
        if task.spec["network"] != _OWN:
            return None
        look = await self._api.inspect(_holder_name(task))
        if look is None:
            return None
        await self._address_host()
        return look.addresses.get(self.network_name) or None

    # -- the yard -------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Remove the network; no task needs it any more."""
        await self._api.remove_network(self.network_name)
        self._has_network = self._is_host_addressed = False

    async def _make_network(self) -> None:
        async with self._lock:
            if self._has_network:
                return
            if await self._api.find_network(self.network_name) is None:
                await self._create_network()
            self._has_network = True
        await self._address_host()

    async def _create_network(self) -> None:
        try:
            routes = await asyncio.to_thread(Path(ROUTES_FILE).read_text)
            block = self._range.free_block(routes, own_link=self._link_name)
        except (OSError, ValueError) as error:
            raise Refused(clip("ResourceInitializationError", str(error))) from error
        config: Json = {
            "Name": self.network_name,
            "Driver": "bridge",
            "Labels": {LABEL_YARD: self._yard},
            "Options": {"com.docker.network.bridge.name": self._link_name},
            "IPAM": {"Config": [{"Subnet": str(block), "Gateway": block.address(1)}]},
        }
        try:
            await self._api.create_network(config)
        except EngineError as error:
            raise Refused(clip("ResourceInitializationError", str(error))) from error

    async def _address_host(self) -> None:
        """Give the host the address at which SDKs look for a task's endpoint, once.

        Tried again with each task until then: podman makes the bridge with its first container.
        """
        if self._is_host_addressed:
            return
        network = await self._api.find_network(self.network_name) or {}
        configs = (network.get("IPAM") or {}).get("Config") or [{}]
        link = _link_with(configs[0].get("Gateway"))
        if link is None:
            return
        self._is_host_addressed = True
        try:
            netlink = Netlink()
            try:
                netlink.add_address(link, TASK_ENDPOINT_ADDRESS, _HOST_PREFIX_LENGTH)
            finally:
                netlink.close()
        except OSError as error:
            if error.errno != errno.EEXIST:
                _log.warning(
                    "task_endpoint_unreachable",
                    network=self.network_name,
                    reason=error.strerror,
                    hint="jobs with a network of their own get no keys for their roles",
                )

    async def _make_holder(self, task: Task, facts: EngineFacts, network: str) -> str:
        """Give the id of the container that holds what is shared, running."""
        name = _holder_name(task)
        found = await self._api.inspect(name)
        if found is not None and found.stage == "running":
            return found.id
        if found is not None:
            await self._api.remove(name, is_forced=True)
        await self._provide_holder_image(facts)
        size_mib = max(each["shared_memory_mib"] for each in task.spec["containers"])
        config: Json = {
            "Image": HOLDER_IMAGE,
            "Cmd": [HOLDER_COMMAND],
            "Hostname": task.spec.get("host_name") or host_name_of(task.task_id),
            "Labels": self.labels(task.task_id),
            "HostConfig": {
                "NetworkMode": network,
                "IpcMode": "shareable",
                "ShmSize": size_mib * _MEBIBYTE,
                "LogConfig": {"Type": "none", "Config": {}},
                "RestartPolicy": {"Name": "no"},
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
            },
        }
        holder = await self._api.create(name, config)
        await self._api.start(holder)
        return holder

    async def _provide_holder_image(self, facts: EngineFacts) -> None:
        async with self._lock:
            if self._has_holder_image:
                return
            if not await self._api.has_image(HOLDER_IMAGE):
                try:
                    archive = holder_archive(facts.architecture)
                except NoHolder as error:
                    raise Refused(clip("CannotCreateContainerError", str(error))) from error
                await self._api.load(archive)
            self._has_holder_image = True

    async def _make_volumes(self, task: Task) -> dict[str, str]:
        wanted = {
            mount["volume"]: None
            for container in task.spec["containers"]
            for mount in container["mounts"]
            if mount["source"] is None and mount["volume"]
        }
        names = {
            volume: f"{NAME_PREFIX}{task.task_id}-volume-{number}"
            for number, volume in enumerate(wanted)
        }
        for name in names.values():
            await self._api.create_volume(name, self.labels(task.task_id))
        return names


def _link_with(address: str | None) -> str | None:
    """Name the host's link that has an address."""
    for name, found in psutil.net_if_addrs().items():
        if any(each.address == address for each in found):
            return name
    return None


def _needs_holder(task: Task) -> bool:
    """Tell whether something must outlive the containers; an address must be known before them."""
    spec = task.spec
    is_shared = _SHARED in (spec["processes"], spec["ipc"])
    return spec["network"] == _OWN or (task.is_group and is_shared)


def _holder_name(task: Task) -> str:
    return f"{NAME_PREFIX}{task.task_id}-holder"


def _mode_of(sharing: str, holder: str, *, alone: str) -> str:
    if sharing == _HOST:
        return "host"
    return holder if sharing == _SHARED and holder else alone
