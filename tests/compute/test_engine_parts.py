"""The parts of the engines' backend that need no engine: frames, lines, shapes, choices."""

import contextlib
import http.server
import json
import os
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.compute import choice
from batchyard.compute.docker import detect
from batchyard.compute.docker.engine_api import time_ms_of
from batchyard.compute.docker.frames import Entry, FrameReader, LineReader
from batchyard.compute.docker.holder import NoHolder, holder_archive
from batchyard.compute.docker.shape import EngineFacts, Place, Rules, config_of, facts_of
from batchyard.compute.local.supervisor.probe import _spec
from batchyard.compute.port import Trouble

pytestmark = [pytest.mark.ours_only]

TIME = b"2026-11-26T01:55:31.824743093Z"
AT_MS = 1_795_658_131_824


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(TIME) + 1 + len(data)) + TIME + b" " + data


PIECES = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.binary(max_size=6).map(lambda b: b + b"\n")), max_size=8
)


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 400), max_size=5))
def test_frames_come_out_as_they_went_in(pieces: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(stream, piece) for stream, piece in pieces)
    reader, entries, start = FrameReader(), [], 0
    for end in [*sorted(cuts), len(data)]:
        entries += reader.feed(data[start:end])
        start = max(start, end)
    assert entries == [
        Entry(is_error=stream == 2, time=TIME, data=piece) for stream, piece in pieces
    ]


@given(pieces=PIECES, position=st.integers(0, 12))
def test_lines_after_a_position_are_the_rest_of_all(
    pieces: list[tuple[int, bytes]], position: int
) -> None:
    entries = [Entry(is_error=stream == 2, time=TIME, data=piece) for stream, piece in pieces]
    every, some = LineReader(0), LineReader(position)
    lines = [line for entry in entries for line in every.feed([entry])] + every.finish()
    assert some.feed(entries) + some.finish() == lines[position:]


def test_pieces_of_a_line_are_put_together() -> None:
    reader = LineReader(0)
    entries = [
        Entry(is_error=False, time=TIME, data=b"one "),
        Entry(is_error=True, time=TIME, data=b"between\n"),
        Entry(is_error=False, time=TIME, data=b"line\nrest"),
    ]
    texts = [(line.text, line.is_error, line.at_ms) for line in reader.feed(entries)]
    assert texts == [("between", True, AT_MS), ("one line", False, AT_MS)]
    assert [line.text for line in reader.finish()] == ["rest"]
    assert reader.last_entry is not None
    assert reader.last_entry.is_exact
    assert not Entry(is_error=False, time=b"2026-11-26T01:55:31Z", data=b"x").is_exact


def test_times_of_engines_are_read() -> None:
    assert time_ms_of(TIME.decode()) == AT_MS
    assert time_ms_of("2026-11-26T01:55:31.824+00:00") == AT_MS
    assert time_ms_of("0001-01-01T00:00:00Z") is None
    assert time_ms_of("") is None


FACTS = EngineFacts(
    is_podman=False,
    version="20.10",
    architecture="amd64",
    cpu_count=2,
    memory_bytes=1 << 30,
    has_swappiness=False,
    has_nvidia=True,
)


def place(**changes: object) -> Place:
    given: dict[str, object] = {
        "task_id": "0123456789abcdef",
        "image": "busybox",
        "labels": {"a": "b"},
        "is_cpu_capped": False,
        "network_mode": "host",
        "process_mode": "",
        "ipc_mode": "private",
        "name_by_volume": {},
        **changes,
    }
    return Place(**given)  # type: ignore[arg-type]


def test_gpus_are_asked_for_by_id_where_nvidias_runtime_is() -> None:
    (spec,) = _spec(["true"])["containers"]
    gpus = [{"id": "GPU-1", "paths": ["/dev/nvidia0"]}]
    config = config_of(spec, place(gpus=gpus, has_gpus=True), FACTS)
    host = config["HostConfig"]
    assert host["DeviceRequests"] == [{"DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]]}]
    assert host["Devices"] == []
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1" in config["Env"]


def test_privileged_keeps_every_capability_and_others_make_no_nodes() -> None:
    (spec,) = _spec(["true"])["containers"]
    spec["is_privileged"] = True
    allowed = Rules(is_privileged_allowed=True)
    host = config_of(spec, place(rules=allowed), FACTS)["HostConfig"]
    assert (host["Privileged"], "CapDrop" in host) == (True, False)
    spec["is_privileged"] = False
    assert config_of(spec, place(), FACTS)["HostConfig"]["CapDrop"] == ["MKNOD"]


def test_swap_is_a_limit_of_its_own() -> None:
    (spec,) = _spec(["true"])["containers"]
    spec["swap_mib"], spec["swappiness"] = 10, 60
    host = config_of(spec, place(), FACTS)["HostConfig"]
    assert host["MemorySwap"] - host["Memory"] == 10 << 20
    assert "MemorySwappiness" not in host, "control groups v2 have none"


def test_engines_tell_what_they_are() -> None:
    info = {"NCPU": 4, "MemTotal": 1 << 30, "CgroupVersion": "2", "Runtimes": {"runc": {}}}
    version = {"Version": "4.3.1", "Arch": "arm64", "Components": [{"Name": "Podman Engine"}]}
    assert facts_of(info, version) == EngineFacts(
        is_podman=True,
        version="4.3.1",
        architecture="arm64",
        cpu_count=4,
        memory_bytes=1 << 30,
        has_swappiness=False,
        has_nvidia=False,
    )


def test_holder_is_made_for_two_kinds_of_machine() -> None:
    assert len(holder_archive("amd64")) == len(holder_archive("arm64"))
    with pytest.raises(NoHolder, match="on riscv64 machines"):
        holder_archive("riscv64")


# ── choosing ─────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def answering(path: Path, name: str) -> Iterator[str]:
    """Answer `/version` on a socket, as an engine of that name."""
    body = json.dumps({"Version": "9.9", "Components": [{"Name": name}]}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "socket"

        def log_message(self, format: str, *args: object) -> None:
            return

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(path)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def no_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Look for engines nowhere but where a test says."""
    for name in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.setenv(name, f"unix://{tmp_path}/nothing")


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_problem_of_direct", lambda _: "crun is broken")


@pytest.mark.usefixtures("no_engines", "no_runtime")
def test_auto_takes_docker_then_podman(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(short_path / "p", "Podman Engine") as podman:
        monkeypatch.setenv("CONTAINER_HOST", f"unix://{podman}")
        made = choice.choose(short_path, "auto")
        assert (made.kind, made.engine and made.engine.version) == ("podman", "9.9")
        assert made.why.startswith("crun is broken; docker does not answer")
        with answering(short_path / "d", "Engine") as docker:
            monkeypatch.setenv("DOCKER_HOST", f"unix://{docker}")
            made = choice.choose(short_path, "auto")
            assert (made.kind, made.why) == ("docker", "crun is broken")
            with pytest.raises(Trouble, match="docker answers there"):
                choice.choose(short_path, "podman", socket_path=docker)


@pytest.mark.usefixtures("no_engines")
def test_auto_takes_the_direct_runtime_where_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_problem_of_direct", lambda _: "")
    assert choice.choose(tmp_path, "auto").kind == "direct"
    assert choice.choose(tmp_path, "runc").kind == "direct"


@pytest.mark.usefixtures("no_engines", "no_runtime")
def test_nothing_that_works_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"nothing here can run containers: crun is broken; docker"):
        choice.choose(tmp_path, "auto")
    with pytest.raises(Trouble, match=r"docker does not answer .*: install Docker and start it"):
        choice.choose(tmp_path, "docker")


@pytest.mark.usefixtures("no_engines")
def test_tasks_left_by_another_kind_are_not_passed_over(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_problem_of_direct", lambda _: "")
    (short_path / "docker-tasks").mkdir()
    (short_path / "docker-tasks" / "a.task").touch()
    with pytest.raises(Trouble, match="start with the setting runtime=docker until"):
        choice.choose(short_path, "crun")
    with answering(short_path / "d", "Engine") as docker:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{docker}")
        assert choice.choose(short_path, "auto").kind == "docker"
        (short_path / "docker-tasks" / "a.task").unlink()
        (short_path / "tasks").mkdir()
        (short_path / "tasks" / "a.task").touch()
        with pytest.raises(Trouble, match="start with the setting runtime=auto until"):
            choice.choose(short_path, "docker")


@pytest.mark.usefixtures("no_engines")
def test_doctor_looks_for_engines(short_path: Path) -> None:
    with answering(short_path / "d", "Engine") as docker:
        found, other = choice.check_engines("docker", socket_path=docker)
        assert (found.is_ok, found.detail) == (True, f"9.9 at {docker}")
        assert (other.is_ok, other.remedy) == (True, "")
    missing, _ = choice.check_engines("docker")
    assert not missing.is_ok
    assert missing.remedy == "install Docker and start it, or be in the group docker"


def test_sockets_are_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///a/b")
    assert detect.socket_paths("docker") == ["/a/b"]
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert detect.socket_paths("docker")[0] == "/var/run/docker.sock"
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert detect.socket_paths("podman")[0] == "/run/user/7/podman/podman.sock"
