"""The supervisor: the small process that owns the containers of one data directory.

Owns the life of every task from the moment it is accepted to the moment it is forgotten, and tells
it to whichever server is connected. Refuses to know images' origins, sinks, jobs and accounts. It
outlives the server (own session, own control group, own mount namespace) and writes down before it
tells. When nothing happens it sleeps in one system call: no polling, no timer but the grace times
of stopping tasks and of control groups that are still busy.

Started by the server as `python -m batchyard.compute.local.supervisor <data dir>`; writes one line
to stdout: `ready`, `busy` (another one holds the data directory), or what is wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import signal
import time
import traceback
from collections import deque

from batchyard.compute.local.supervisor import kernel
from batchyard.compute.local.supervisor.cgroups import Groups, layout_of
from batchyard.compute.local.supervisor.container import (
    MOUNT_POINTS_LAYER,
    Container,
    Launcher,
    LaunchRefused,
    clip,
    note,
)
from batchyard.compute.local.supervisor.conversation import (
    SOCKET_FILE,
    VERSION,
    Conversation,
    listen,
)
from batchyard.compute.local.supervisor.namespace import base_name_of, enter_private_namespace
from batchyard.compute.local.supervisor.records import TASK_SUFFIX, End, Stored, TaskRecord
from batchyard.compute.local.supervisor.task import Task, now_ms
from batchyard.model.wording import OUT_OF_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from batchyard.compute.local.shapes import NewsShape, OrderShape, SpecShape

#: Failures in a row after which we give up: something is wrong with more than one task.
_FAILURES_MAX = 100
#: So that the names fit an argument list.
_PATHS_PER_RM_MAX = 1000
_KILL_WAIT_S = 5.0
#: Control groups whose last process is still on its way out are tried again after this time.
_BUSY_RETRY_S = 0.5
_LOST = (
    "DockerStateError: the supervisor of the containers was killed or the machine restarted while"
    " the task was running; its containers were stopped"
)


def say(text: str) -> None:
    """Tell whoever started us, in one line."""
    os.write(1, text.encode() + b"\n")


class Supervisor:
    """The event loop and everything it owns."""

    def __init__(self, data_dir: str, groups: Groups) -> None:
        self._tasks_path = f"{data_dir}/tasks"
        self._socket_path = f"{data_dir}/{SOCKET_FILE}"
        self._trash_path = f"{data_dir}/trash"
        self._records_path = f"{data_dir}/images/records"
        self._launcher = Launcher(groups=groups, data_dir=data_dir)
        self._epoll = select.epoll()
        self._on_ready: dict[int, Callable[[int, int], None]] = {}
        self._tasks: dict[str, Task] = {}
        self._task_by_pid: dict[int, Task] = {}
        self._task_by_stream: dict[int, Task] = {}
        #: Tasks that may be launched as soon as fewer containers are being made.
        self._queue: deque[Task] = deque()
        self._making_count = 0
        self._making_max = 2 * (os.cpu_count() or 1) + 4
        #: (monotonic deadline in ms, task id): when SIGKILL follows SIGTERM.
        self._deadlines: list[tuple[int, str]] = []
        self._conversations: dict[int, Conversation] = {}
        self._news: NewsShape = {}
        self._busy_groups: list[Container] = []
        self._is_leaving = False
        self._failure_count = 0
        self._acts: dict[str, Callable[[OrderShape], NewsShape | None]] = {
            "accept": self._accept_all,
            "launch": self._launch_waiting,
            "fail": self._fail_waiting,
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
        self._watch(self._pids_watch, self._on_pid_files)
        self._watch(self._wake_read, self._on_wake)
        self._watch(listener, self._on_connection)
        while not self._is_leaving:
            for fd, event in self._epoll.poll(self._next_timeout_s()):
                handler = self._on_ready.get(fd)
                if handler is not None:
                    self._handle(handler, fd, event)
            self._kill_overdue()
            self._launch_queued()
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

    def _watch(self, fd: int, handler: Callable[[int, int], None]) -> None:
        self._on_ready[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._on_ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _next_timeout_s(self) -> float | None:
        longest_s = _BUSY_RETRY_S if self._busy_groups else None
        if not self._deadlines:
            return longest_s
        next_s = max(0, self._deadlines[0][0] - time.monotonic_ns() // 1_000_000) / 1000 + 0.001
        return next_s if longest_s is None else min(next_s, longest_s)

    def _leave(self) -> None:
        self._is_leaving = True

    # -- recovery -----------------------------------------------------------------------------

    def recover(self) -> None:
        """Take over what an earlier supervisor left on disk; nothing of it runs any more."""
        for file_name in sorted(os.listdir(self._tasks_path)):
            if not file_name.endswith(TASK_SUFFIX):
                continue
            record = TaskRecord(self._tasks_path, file_name.removesuffix(TASK_SUFFIX))
            content = record.read()
            if content is None:
                record.delete()  # Begun, but never acknowledged.
                continue
            spec, image, end = content
            task = Task(spec, record)
            task.image = image
            if task.spool:
                task.spool.adopt()
            self._tasks[task.task_id] = task
            if end is not None:
                task.end = end
                task.started_at_ms = end.started_at_ms
            elif image is not None:
                self._end(task, exit_code=None, reason=_LOST, is_lost=True)
        self._discard([f"{self._trash_path}/{name}" for name in os.listdir(self._trash_path)])

    # -- orders from servers ------------------------------------------------------------------

    def _on_connection(self, listener: int, _event: int) -> None:
        conversation = Conversation.accept(listener)
        if conversation is not None:
            self._conversations[conversation.fd] = conversation
            self._watch(conversation.fd, self._on_orders)

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
            self._unwatch(conversation.fd)
            self._conversations.pop(conversation.fd).close()

    def _obey(self, conversation: Conversation, order: OrderShape) -> NewsShape:
        if order["do"] == "greet":
            return self._greet(conversation, order)
        act = self._acts.get(order["do"])
        return (act(order) or {}) if act else {}

    def _greet(self, conversation: Conversation, order: OrderShape) -> NewsShape:
        self._launcher.settings = order["settings"]
        conversation.is_listening = True
        for task in self._tasks.values():
            task.is_notified = False
        snapshot = [task.describe() for task in self._tasks.values()]
        return {"version": VERSION, "snapshot": snapshot}

    def _leave_if_idle(self, _order: OrderShape) -> NewsShape:
        self._is_leaving = all(task.end for task in self._tasks.values())
        if self._is_leaving:  # Nobody shall reach us any more while we go.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket_path)
        return {"is_done": self._is_leaving}

    def _accept_all(self, order: OrderShape) -> None:
        for spec, image in order["tasks"]:
            self._accept(spec, image)

    def _accept(self, spec: SpecShape, image: str | None) -> None:
        task_id = spec["task_id"]
        if task_id in self._tasks:
            return
        task = Task(spec, TaskRecord(self._tasks_path, task_id))
        task.image = image
        self._tasks[task_id] = task
        try:
            task.record.claim(spec, image=image)
        except (OSError, Stored) as error:
            self._end(task, exit_code=None, reason=clip("CannotCreateContainerError", str(error)))
            return
        if image is not None:
            self._queue.append(task)

    def _launch_waiting(self, order: OrderShape) -> None:
        task = self._tasks.get(order["task_id"])
        if task is None or task.end or task.image is not None:
            return
        task.image = order["image"]
        try:
            task.record.write_image(order["image"])
        except OSError as error:
            self._end(task, exit_code=None, reason=clip("CannotCreateContainerError", str(error)))
            return
        self._queue.append(task)

    def _fail_waiting(self, order: OrderShape) -> None:
        task = self._tasks.get(order["task_id"])
        if task is not None and not task.end and task.image is None:
            self._end(task, exit_code=None, reason=order["reason"])

    def _stop(self, order: OrderShape) -> None:
        task = self._tasks.get(order["task_id"])
        if task is None or task.end or task.is_stopping:
            return
        task.is_stopping = True
        task.stop_grace_ms = order["grace_ms"]
        if task.container is None:
            self._end(task, exit_code=None, reason=None)
        elif task.process_id is not None:
            self._terminate(task)

    def _terminate(self, task: Task) -> None:
        assert task.process_id is not None
        self._launcher.send_signal(task.task_id, task.process_id, signal.SIGTERM)
        deadline = time.monotonic_ns() // 1_000_000 + task.stop_grace_ms
        heapq.heappush(self._deadlines, (deadline, task.task_id))

    def _kill_overdue(self) -> None:
        while self._deadlines:
            deadline, task_id = self._deadlines[0]
            task = self._tasks.get(task_id)
            if task is not None and task.container and not task.end:
                if deadline > time.monotonic_ns() // 1_000_000:
                    return
                if task.process_id is not None:
                    self._launcher.send_signal(task_id, task.process_id, signal.SIGKILL)
            heapq.heappop(self._deadlines)

    def _mark_taken(self, order: OrderShape) -> None:
        for task_id, position in order["positions"].items():
            task = self._tasks.get(task_id)
            if task is None or task.spool is None:
                continue
            task.spool.mark_taken(position)
            task.is_notified = False
            self._tell_output(task)
            if task.is_paused and not task.spool.is_backlogged:
                task.is_paused = False
                for fd in task.open_streams:
                    self._epoll.modify(fd, select.EPOLLIN)

    def _forget(self, order: OrderShape) -> None:
        for task_id in order["task_ids"]:
            task = self._tasks.get(task_id)
            if task is not None and task.end:
                del self._tasks[task_id]
                task.record.delete()

    def _remove_image(self, order: OrderShape) -> NewsShape:
        image = order["image"]
        if any(task.image == image and not task.end for task in self._tasks.values()):
            return {"is_done": False}
        self._launcher.drop_image(image)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._records_path}/{image}.json")
        return {"is_done": True}

    # -- the life of a container --------------------------------------------------------------

    def _launch_queued(self) -> None:
        while self._queue and self._making_count < self._making_max:
            task = self._queue.popleft()
            if task.end:
                continue  # Stopped while it was queued.
            assert task.image is not None
            try:
                container = self._launcher.launch(task.spec, task.image)
            except LaunchRefused as error:
                self._end(task, exit_code=None, reason=str(error))
                continue
            task.container = container
            self._making_count += 1
            self._task_by_pid[container.pid] = task

    def _on_pid_files(self, _fd: int, _event: int) -> None:
        for name in kernel.read_finished_names(self._pids_watch):
            task = self._tasks.get(name)
            if task is not None and task.container is not None and not task.end:
                self._note_started(task)

    def _note_started(self, task: Task) -> bool:
        """Look whether the container's process exists now, and tell it; True if it does."""
        if task.process_id is not None:
            return True
        task.process_id = self._launcher.take_process_id(task.task_id)
        if task.process_id is None:
            return False
        container = task.container
        assert container is not None
        self._making_count -= 1
        task.started_at_ms = now_ms()
        self._news.setdefault("started", []).append((task.task_id, task.started_at_ms))
        # Only now: what came before a pid is the runtime's own complaint.
        for fd in task.open_pipes():
            self._task_by_stream[fd] = task
            self._watch(fd, self._on_output)
        if task.is_stopping:
            self._terminate(task)
        return True

    def _on_output(self, fd: int, _event: int) -> None:
        task = self._task_by_stream[fd]
        is_open = task.read_pipe(fd)
        if not is_open:
            self._close_stream(task, fd)
        self._tell_output(task)
        if task.spool is not None and task.spool.is_backlogged and not task.is_paused:
            task.is_paused = True
            for stream in task.open_streams:
                self._epoll.modify(stream, 0)

    def _close_stream(self, task: Task, fd: int) -> None:
        self._unwatch(fd)
        del self._task_by_stream[fd]
        task.close_pipe(fd)

    def _tell_output(self, task: Task) -> None:
        spool = task.spool
        if spool is not None and not task.is_notified and spool.size > spool.taken:
            task.is_notified = True
            self._news.setdefault("output", {})[task.task_id] = 0

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
            task = self._task_by_pid.pop(pid, None)
            if task is not None:
                self._conclude(task, os.waitstatus_to_exitcode(status))

    def _conclude(self, task: Task, runtime_code: int) -> None:
        """Settle a task whose runtime process is gone: its last output, its reason, its remains."""
        container = task.container
        assert container is not None
        if self._note_started(task):
            if runtime_code < 0:
                self._launcher.kill_all(task.task_id)
            task.drain_pipes()
        else:
            self._making_count -= 1
            os.close(container.stdout)
            os.close(container.stderr)
        exit_code, reason = self._outcome(task, runtime_code)
        for fd in list(task.open_streams):
            self._close_stream(task, fd)
        if not self._launcher.clean(container, is_reusable=runtime_code >= 0):
            self._busy_groups.append(container)
        self._end(task, exit_code=exit_code, reason=reason)

    def _outcome(self, task: Task, runtime_code: int) -> tuple[int | None, str | None]:
        is_out_of_memory = self._launcher.has_oom_kill(task.task_id)
        if runtime_code < 0:
            if is_out_of_memory:
                return 137, OUT_OF_MEMORY
            text = f"the container runtime was killed by signal {-runtime_code}"
            name = "DockerStateError" if task.process_id else "CannotStartContainerError"
            return None, clip(name, text)
        if task.process_id is None:
            if is_out_of_memory:
                return 137, OUT_OF_MEMORY
            error = self._launcher.read_error(task.task_id)
            text = error or f"the container runtime failed with status {runtime_code}"
            return None, clip("CannotStartContainerError", text)
        complaint = task.take_complaint(runtime_code)
        if complaint:
            return None, clip("CannotStartContainerError", complaint)
        return runtime_code, OUT_OF_MEMORY if is_out_of_memory else None

    def _end(
        self, task: Task, *, exit_code: int | None, reason: str | None, is_lost: bool = False
    ) -> None:
        spool = task.spool
        end = End(
            at_ms=now_ms(),
            exit_code=exit_code,
            reason=reason,
            is_lost=is_lost,
            started_at_ms=task.started_at_ms,
            spool_size=spool.size if spool else 0,
            lost_bytes=spool.lost_bytes if spool else 0,
        )
        try:
            task.record.write_end(end)
        except OSError as error:
            # Told all the same; should we be killed before it is forgotten, it will count as lost.
            note(f"end_not_written task_id={task.task_id} error={error}")
        if spool:
            spool.close()
        task.end = end
        self._news.setdefault("ended", []).append((task.task_id, end.to_plain()))

    # -- news and ashes -----------------------------------------------------------------------

    def _send_news(self) -> None:
        news, self._news = self._news, {}
        for task_id in news.get("output", ()):
            task = self._tasks.get(task_id)
            news["output"][task_id] = task.spool.size if task and task.spool else 0
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
                self._epoll.modify(conversation.fd, wanted)

    def _clear_up(self) -> None:
        """Delete what nobody waits for, after the news was sent."""
        leftovers, self._launcher.leftovers = self._launcher.leftovers, []
        self._discard(leftovers)
        containers, self._busy_groups = self._busy_groups, []
        for container in containers:
            if not self._launcher.remove_group(container):
                self._busy_groups.append(container)

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
    supervisor.recover()
    listener = listen(data_dir)
    say("ready")
    os.dup2(2, 1)  # Let go of the pipe on which the server waits for this line.
    supervisor.run(listener)
    groups.destroy(timeout_s=_KILL_WAIT_S)
    return ""


def prepare_mount_points(layer: str) -> None:
    """Make the lowest layer of all: the places where every container has something mounted."""
    for name in ("dev", "etc", "proc", "sys"):
        os.makedirs(f"{layer}/{name}", mode=0o755, exist_ok=True)
    for name in ("hosts", "resolv.conf"):
        os.close(os.open(f"{layer}/etc/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
