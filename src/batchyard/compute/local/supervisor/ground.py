"""The ground that the containers of a task stand on: its network, what they share, its GPUs.

Owns all of it from the task's first container to its last. Decides how a refusal is told. Refuses
to know containers.
"""

from __future__ import annotations

from batchyard.compute.local.supervisor.devices import GpuBook, NotGiven
from batchyard.compute.local.supervisor.network import (
    Networks,
    NoNetwork,
    TaskNetwork,
    link_name_of,
)
from batchyard.compute.local.supervisor.refusals import clip
from batchyard.compute.local.supervisor.sharing import SharedIpc, SharedProcesses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import GpuShape, SettingsShape, SpecShape
    from batchyard.compute.local.supervisor.bundle import Surroundings

_HOST_MEMORY = "/dev/shm"  # noqa: S108  # the host's own


class NoGround(Exception):
    """The task cannot run; the text is the reason in AWS's form."""


class Ground:
    """What the tasks of this supervisor stand on."""

    __slots__ = (
        "_gpus",
        "_ipc_by_task",
        "_network_by_task",
        "_processes_by_task",
        "_run",
        "networks",
    )

    def __init__(self, data_dir: str) -> None:
        self._run = f"{data_dir}/run"
        self.networks = Networks(link_name_of(data_dir))
        self._gpus = GpuBook()
        self._network_by_task: dict[str, TaskNetwork] = {}
        self._ipc_by_task: dict[str, SharedIpc] = {}
        self._processes_by_task: dict[str, SharedProcesses] = {}

    def make(self, spec: SpecShape, around: Surroundings, settings: SettingsShape) -> None:
        """Make the task's ground and note it in `around`. Raises `NoGround`; `release` follows in
        both cases."""
        if "HOST" in (spec["processes"], spec["ipc"]) and not settings["is_privileged_allowed"]:
            text = "sharing the host's processes or IPC objects is not allowed on this host"
            raise NoGround(clip("CannotCreateContainerError", text))
        try:
            if spec["network"] == "OWN":
                self._make_network(around, settings["network_range"])
            self._make_processes(spec["processes"], around)
            self._make_ipc(spec, around)
        except NoNetwork as error:
            raise NoGround(clip("ResourceInitializationError", str(error))) from error
        except OSError as error:
            raise NoGround(clip("CannotCreateContainerError", str(error))) from error

    def take_gpus(self, spec: SpecShape, settings: SettingsShape) -> list[list[GpuShape]]:
        """Take the GPUs of each of the task's containers. Raises `NoGround`."""
        try:
            return [
                self._gpus.take(spec["task_id"], settings["gpus"], each["limits"]["gpu_count"])
                for each in spec["containers"]
            ]
        except NotGiven as error:
            raise NoGround(clip("CannotCreateContainerError", str(error))) from error

    def release(self, around: Surroundings) -> None:
        """Take everything back that a task had."""
        task_id = around.task_id
        processes = self._processes_by_task.pop(task_id, None)
        if processes is not None:
            processes.close()
        ipc = self._ipc_by_task.pop(task_id, None)
        if ipc is not None:
            ipc.close()
        network = self._network_by_task.pop(task_id, None)
        if network is not None:
            self.networks.remove(network)
        self._gpus.give_back(task_id)

    def _make_network(self, around: Surroundings, range_text: str) -> None:
        network = self.networks.make(range_text)
        self._network_by_task[around.task_id] = network
        around.address = network.address
        around.namespaces["network"] = network.path

    def _make_processes(self, sharing: str, around: Surroundings) -> None:
        if sharing == "HOST":
            del around.namespaces["pid"]
            around.has_shared_processes = True
        elif sharing == "TASK" and around.is_group:
            processes = SharedProcesses()
            self._processes_by_task[around.task_id] = processes
            around.namespaces["pid"] = processes.path
            around.has_shared_processes = True

    def _make_ipc(self, spec: SpecShape, around: Surroundings) -> None:
        if spec["ipc"] == "HOST":
            del around.namespaces["ipc"]
            around.shared_memory_path = _HOST_MEMORY
        elif spec["ipc"] == "TASK" and around.is_group:
            size_mib = max(each["shared_memory_mib"] for each in spec["containers"])
            place = f"{self._run}/memory/{around.task_id}"
            ipc = SharedIpc(place=place, size_mib=size_mib)
            self._ipc_by_task[around.task_id] = ipc
            around.namespaces["ipc"] = ipc.path
            around.shared_memory_path = ipc.memory_path
