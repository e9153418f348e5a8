"""The supervisor: the small process that owns the containers of one data directory.

Owns the loop, the connections of servers and what nobody waits for; the tasks are `life`'s. Refuses
to know images' origins, sinks, jobs and accounts. It outlives the server (own session, own control
group, own mount namespace) and writes down before it tells. When nothing happens it sleeps in one
system call: no polling, no timer but the grace times of stopping tasks, the times that containers
may wait for each other, and of control groups that are still busy.

Started by the server as `python -m batchyard.compute.local.supervisor <data dir>`; writes one line
to stdout: `ready`, `busy` (another one holds the data directory), or what is wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
import traceback

from batchyard.compute.local.supervisor import kernel
from batchyard.compute.local.supervisor.bundle import MOUNT_POINTS_LAYER
from batchyard.compute.local.supervisor.cgroups import Groups, layout_of
from batchyard.compute.local.supervisor.conversation import (
    SOCKET_FILE,
    VERSION,
    Conversation,
    listen,
)
from batchyard.compute.local.supervisor.life import Life
from batchyard.compute.local.supervisor.namespace import base_name_of, enter_private_namespace
from batchyard.compute.local.supervisor.poller import Poller
from batchyard.compute.local.supervisor.refusals import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.compute.local.shapes import NewsShape, OrderShape

#: Failures in a row after which we give up: something is wrong with more than one task.
_FAILURES_MAX = 100
#: So that the names fit an argument list.
_PATHS_PER_RM_MAX = 1000
_KILL_WAIT_S = 5.0
#: Control groups whose last process is still on its way out are tried again after this time.
_BUSY_RETRY_S = 0.5


def say(text: str) -> None:
    """Tell whoever started us, in one line."""
    os.write(1, text.encode() + b"\n")


class Supervisor:
    """The event loop, and who talks to it."""

    def __init__(self, data_dir: str, groups: Groups) -> None:
        self._socket_path = f"{data_dir}/{SOCKET_FILE}"
        self._trash_path = f"{data_dir}/trash"
        self._records_path = f"{data_dir}/images/records"
        self._poller = Poller()
        self.life = Life(data_dir=data_dir, groups=groups, poller=self._poller)
        self._launcher = self.life.launcher
        self._conversations: dict[int, Conversation] = {}
        self._is_leaving = False
        self._failure_count = 0
        self._acts: dict[str, Callable[[OrderShape], NewsShape | None]] = {
            "accept": self._accept,
            "launch": self._launch,
            "fail": self._fail,
            "stop": self._stop,
            "taken": self._mark_taken,
            "forget": self._forget,
            "remove_image": self._remove_image,
            "leave_if_idle": self._leave_if_idle,
        }

    # -- the loop -----------------------------------------------------------------------------

    def run(self, listener: int) -> None:
        """Serve until told to leave."""
        self._pids_watch = kernel.watch_directory(self._launcher.pids_path)
        self._wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._leave())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._poller.watch(self._pids_watch, self._on_pid_files)
        self._poller.watch(self._wake_read, self._on_wake)
        self._poller.watch(listener, self._on_connection)
        while not self._is_leaving:
            for fd, event in self._poller.wait(self._next_timeout_s()):
                handler = self._poller.handler_of(fd)
                if handler is not None:
                    self._handle(handler, fd, event)
            self.life.act_on_time()
            self.life.launch_queued()
            self._send_news()
            self._clear_up()

    def _handle(self, handler: Callable[[int, int], None], fd: int, event: int) -> None:
        """Handle one thing that happened. Our own fault with one task must not take all others
        down."""
        try:
            handler(fd, event)
            self._failure_count = 0
        except Exception:
            note(traceback.format_exc())
            self._failure_count += 1
            if self._failure_count > _FAILURES_MAX:
                raise

    def _next_timeout_s(self) -> float | None:
        longest_s = _BUSY_RETRY_S if self.life.busy_groups else None
        next_s = self.life.next_timeout_s()
        if next_s is None:
            return longest_s
        return next_s if longest_s is None else min(next_s, longest_s)

    def _leave(self) -> None:
        self._is_leaving = True

    def recover(self) -> None:
        """Take over what an earlier supervisor left on disk."""
        self.life.recover()
        self._discard([f"{self._trash_path}/{name}" for name in os.listdir(self._trash_path)])

    def _on_pid_files(self, _fd: int, _event: int) -> None:
        for name in kernel.read_finished_names(self._pids_watch):
            self.life.look_at_pid(name)

    def _on_wake(self, _fd: int, _event: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.life.bury(pid, os.waitstatus_to_exitcode(status))

    # -- orders from servers ------------------------------------------------------------------

    def _on_connection(self, listener: int, _event: int) -> None:
        conversation = Conversation.accept(listener)
        if conversation is not None:
            self._conversations[conversation.fd] = conversation
            self._poller.watch(conversation.fd, self._on_orders)

    def _on_orders(self, fd: int, event: int) -> None:
        conversation = self._conversations[fd]
        if event & select.EPOLLOUT:
            conversation.flush()
        orders = conversation.read_orders()
        for order in orders or ():
            answer = self._obey(conversation, order)
            if "number" in order:
                answer["answer"] = order["number"]
                conversation.answers.append(answer)
        if orders is None:
            self._poller.unwatch(conversation.fd)
            self._conversations.pop(conversation.fd).close()

    def _obey(self, conversation: Conversation, order: OrderShape) -> NewsShape:
        if order["do"] == "greet":
            return self._greet(conversation, order)
        act = self._acts.get(order["do"])
        return (act(order) or {}) if act else {}

    def _greet(self, conversation: Conversation, order: OrderShape) -> NewsShape:
        self._launcher.settings = order["settings"]
        conversation.is_listening = True
        for unit in self.life.units.values():
            unit.is_notified = False
            unit.told_size = unit.spool.size if unit.spool else 0  # The snapshot tells it.
        snapshot = [task.describe() for task in self.life.tasks.values()]
        return {"version": VERSION, "snapshot": snapshot}

    def _leave_if_idle(self, _order: OrderShape) -> NewsShape:
        self._is_leaving = all(task.end for task in self.life.tasks.values())
        if self._is_leaving:  # Nobody shall reach us any more while we go.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket_path)
        return {"is_done": self._is_leaving}

    def _accept(self, order: OrderShape) -> None:
        for spec, images in order["tasks"]:
            self.life.accept(spec, images)

    def _launch(self, order: OrderShape) -> None:
        self.life.supply_image(order["task_id"], image=order["image"], image_id=order["image_id"])

    def _fail(self, order: OrderShape) -> None:
        self.life.deny_image(order["task_id"], image=order["image"], reason=order["reason"])

    def _stop(self, order: OrderShape) -> None:
        self.life.stop(order["task_id"], grace_ms=order["grace_ms"])

    def _mark_taken(self, order: OrderShape) -> None:
        for unit_id, position in order["positions"].items():
            self.life.mark_taken(unit_id, position)

    def _forget(self, order: OrderShape) -> None:
        for task_id in order["task_ids"]:
            self.life.forget(task_id)

    def _remove_image(self, order: OrderShape) -> NewsShape:
        image = order["image"]
        if self.life.uses_image(image):
            return {"is_done": False}
        self._launcher.drop_image(image)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._records_path}/{image}.json")
        return {"is_done": True}

    # -- news and ashes -----------------------------------------------------------------------

    def _send_news(self) -> None:
        news, self.life.news = self.life.news, {}
        for unit_id in news.get("output", ()):
            unit = self.life.units.get(unit_id)
            if unit is not None and unit.spool is not None:
                news["output"][unit_id] = unit.told_size = unit.spool.size
        for conversation in list(self._conversations.values()):
            # Answers first: news may be newer than the snapshot in an answer, never the reverse.
            for answer in conversation.answers:
                conversation.write(answer)
            conversation.answers.clear()
            if news and conversation.is_listening:
                conversation.write(news)
            is_blocked = not conversation.flush()
            if is_blocked != conversation.is_blocked:
                conversation.is_blocked = is_blocked
                wanted = select.EPOLLIN | (select.EPOLLOUT if is_blocked else 0)
                self._poller.want(conversation.fd, wanted)

    def _clear_up(self) -> None:
        """Delete what nobody waits for, after the news was sent."""
        leftovers, self._launcher.leftovers = self._launcher.leftovers, []
        self._discard(leftovers)
        containers, self.life.busy_groups = self.life.busy_groups, []
        for container in containers:
            if not self._launcher.remove_group(container):
                self.life.busy_groups.append(container)

    def _discard(self, paths: list[str]) -> None:
        """Have large trees deleted by a process of its own; by a later turn if there can be
        none."""
        for start in range(0, len(paths), _PATHS_PER_RM_MAX):
            some = paths[start : start + _PATHS_PER_RM_MAX]
            try:
                os.posix_spawn("/bin/rm", ["rm", "-rf", "--", *some], os.environ)
            except OSError as error:  # A job may have used up the machine's processes.
                note(f"trash_not_emptied error={error}")
                self._launcher.leftovers += paths[start:]
                return


def main(data_dir: str) -> str:
    """Run until told to leave. Returns what is wrong if it cannot begin; empty at the end."""
    for name in ("tasks", "trash", "run", "images", "images/records", "images/layers"):
        os.makedirs(f"{data_dir}/{name}", mode=0o700, exist_ok=True)
    lock = os.open(f"{data_dir}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "busy"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        groups = Groups(layout_of(file.read()), base_name_of(data_dir))
    groups.destroy(timeout_s=_KILL_WAIT_S)
    groups.prepare()
    groups.enter_own()
    enter_private_namespace(data_dir)
    prepare_mount_points(f"{data_dir}/images/layers/{MOUNT_POINTS_LAYER}")
    os.chdir(f"{data_dir}/images/layers")
    with contextlib.suppress(FileNotFoundError):  # Writable layers of containers that are gone.
        os.rename(f"{data_dir}/roots", f"{data_dir}/trash/roots.{time.time_ns()}")
    supervisor = Supervisor(data_dir, groups)
    supervisor.life.ground.networks.clear()
    supervisor.recover()
    listener = listen(data_dir)
    say("ready")
    os.dup2(2, 1)  # Let go of the pipe on which the server waits for this line.
    supervisor.run(listener)
    groups.destroy(timeout_s=_KILL_WAIT_S)
    supervisor.life.ground.networks.close()
    return ""


def prepare_mount_points(layer: str) -> None:
    """Make the lowest layer of all: the places where every container has something mounted."""
    for name in ("dev", "etc", "proc", "sys"):
        os.makedirs(f"{layer}/{name}", mode=0o755, exist_ok=True)
    for name in ("hosts", "resolv.conf"):
        os.close(os.open(f"{layer}/etc/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
