"""The parts of the direct backend that need no container: groups, spools, users, configurations."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.compute.local import detect
from batchyard.compute.local.shapes import StartsAfterShape
from batchyard.compute.local.supervisor.cgroups import (
    Groups,
    Limits,
    count_oom_kills,
    layout_of,
    pids_max,
    runtime_resources,
    v1_files,
    v2_files,
)
from batchyard.compute.local.supervisor.container import Container, Launcher, exec_failure_of
from batchyard.compute.local.supervisor.loop import Supervisor
from batchyard.compute.local.supervisor.namespace import base_name_of, unwanted_mounts
from batchyard.compute.local.supervisor.ocispec import ImageConfig, NoCommand, Place, SpecTemplate
from batchyard.compute.local.supervisor.probe import _spec
from batchyard.compute.local.supervisor.records import (
    ContainerEnd,
    End,
    Stored,
    TaskRecord,
    delete_tree,
)
from batchyard.compute.local.supervisor.refusals import clip
from batchyard.compute.local.supervisor.rootfs import Accounts, BadUser, identify, resolve_in_root
from batchyard.compute.local.supervisor.spool import LINE_BYTES_MAX, LineCutter, SpoolWriter, decode
from batchyard.compute.local.supervisor.unit import Unit
from batchyard.compute.port import Trouble

pytestmark = [pytest.mark.ours_only]

HYBRID = """\
27 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 27 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
51 27 0:51 / /data/on\\040overlay rw - overlay overlay rw
"""
PURE_V2 = "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def limits(*, is_cpu_capped: bool = False) -> Limits:
    return Limits(cpu_milli=1500, memory_mib=64, is_cpu_capped=is_cpu_capped)


def test_layouts_are_told_apart() -> None:
    hybrid = layout_of(HYBRID)
    assert hybrid.v2 is None
    assert hybrid.entered_mount_points == [
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/pids",
    ]
    assert hybrid.mount_points[:3] == hybrid.entered_mount_points
    assert set(hybrid.mount_points[3:]) == {"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/systemd"}
    pure = layout_of(PURE_V2)
    assert (pure.v2, pure.mount_points) == ("/sys/fs/cgroup", ["/sys/fs/cgroup"])
    none = layout_of("27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    assert (none.v2, none.mount_points) == (None, [])


def test_v1_limits() -> None:
    assert v1_files(limits(), "memory") == [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "67108864"),
    ]
    assert v1_files(limits(), "cpu") == [("cpu.shares", "1536")]
    assert v1_files(limits(is_cpu_capped=True), "cpu")[1:] == [
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
    ]
    assert v1_files(limits(), "pids") == [("pids.max", str(pids_max()))]


def test_v2_limits() -> None:
    assert v2_files(limits(is_cpu_capped=True)) == [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("cpu.weight", "59"),
        ("pids.max", str(pids_max())),
        ("cpu.max", "150000 100000"),
    ]


@given(st.integers(0, 10_000_000))
def test_cpu_weights_stay_in_the_kernels_range(cpu_milli: int) -> None:
    some = Limits(cpu_milli=cpu_milli, memory_mib=4, is_cpu_capped=True)
    weight = int(dict(v2_files(some))["cpu.weight"])
    assert 1 <= weight <= 10_000
    assert some.cpu_shares >= 2
    assert some.cpu_quota_us >= 1000


def test_runtime_gets_the_same_limits() -> None:
    assert runtime_resources(limits(is_cpu_capped=True)) == {
        "memory": {"limit": 67108864, "swap": 67108864},
        "cpu": {"shares": 1536, "quota": 150000, "period": 100000},
        "pids": {"limit": pids_max()},
    }


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        ("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n", 1),
        ("low 0\noom 3\noom_kill 0\n", 0),
        ("", 0),
    ],
)
def test_oom_kills_are_counted(text: str, count: int) -> None:
    assert count_oom_kills(text) == count


def test_v2_groups_in_a_directory_tree(tmp_path: Path) -> None:
    """A plain directory stands for the unified hierarchy: which files are touched, and how."""
    layout = layout_of(f"31 23 0:28 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup.subtree_control").touch()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "cgroup.subtree_control").touch()
    groups = Groups(layout, "base")
    groups.prepare()
    assert (tmp_path / "base" / "cgroup.subtree_control").read_text().startswith("+pids")
    with pytest.raises(FileNotFoundError):
        groups.create("task", limits())  # a limit that cannot be set is an error
    (tmp_path / "base" / "task" / "memory.events").write_text("oom_kill 1\n")
    assert groups.has_oom_kill("task")
    assert not groups.has_oom_kill("other")
    assert groups.path_for_runtime("task") == "/base/task"


def test_unwanted_mounts_are_dropped_but_not_needed_ones() -> None:
    assert unwanted_mounts(HYBRID, ["/data/on overlay/batchyard"]) == [
        "/var/lib/docker/overlay2/x/merged",
        "/sys/fs/cgroup/unified",
    ]
    assert "/data/on overlay" in unwanted_mounts(HYBRID, [])
    assert base_name_of("/a") != base_name_of("/b")


def test_users_in_every_form() -> None:
    accounts = Accounts(
        "root:x:0:0:root:/root:/bin/sh\napp:x:100:101::/srv/app:/bin/sh\nbroken\n",
        "root:x:0:\napp:x:101:\nvideo:x:44:app,other\n",
    )

    def shown(user: str) -> tuple[int, int, str, list[int]]:
        found = identify(accounts, user)
        return found.uid, found.gid, found.home, found.additional_gids

    assert shown("") == (0, 0, "/root", [])
    assert shown("app") == (100, 101, "/srv/app", [44])
    assert shown("100") == (100, 101, "/srv/app", [44])
    assert shown("app:video") == (100, 44, "/srv/app", [])
    assert shown("100:7") == (100, 7, "/srv/app", [])
    assert shown("12345") == (12345, 0, "/", [])
    for bad in ("ghost", "app:ghost", "99999999999"):
        with pytest.raises(BadUser):
            identify(accounts, bad)


def test_links_cannot_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "up").symlink_to("../../../../etc")
    (root / "abs").symlink_to("/a")
    (root / "loop").symlink_to("loop")
    assert resolve_in_root(str(root), "/a/up/passwd") == f"{root}/etc/passwd"
    assert resolve_in_root(str(root), "/abs/../abs/x") == f"{root}/a/x"
    with pytest.raises(OSError, match="Too many levels"):
        resolve_in_root(str(root), "/loop")


def test_configuration_of_a_container() -> None:
    image = ImageConfig(
        {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=1", "PATH=/bin"], "WorkingDir": "/w"}
    )
    (spec,) = _spec(["x", "y"])["containers"]
    spec["environment"] = [("A", "2"), ("HOME", "/h")]
    spec["ulimits"] = [{"name": "nofile", "soft": 1, "hard": 2}]
    spec["is_root_read_only"] = True
    place = Place(
        root="/r", identity=identify(Accounts("", ""), "5:6"), hosts_file="/hosts", host_name="h"
    )
    place.binds.append(("/src", "/dst", True))
    template = SpecTemplate(capability_mask=1, has_cgroup_mount=True, has_resolv_conf=True)
    config = json.loads(template.compose(spec, image, place))
    process = config["process"]
    assert process["args"] == ["/e", "x", "y"]
    assert process["env"] == ["PATH=/bin", "HOSTNAME=h", "A=2", "HOME=/h"]
    assert (process["cwd"], process["user"]) == ("/w", {"uid": 5, "gid": 6})
    assert process["capabilities"]["effective"] == ["CAP_CHOWN"]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
    assert config["root"] == {"path": "/r", "readonly": True}
    assert {"type": "cgroup"} in config["linux"]["namespaces"]
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert "ro" in mounts["/dst"]["options"]
    assert "ro" in mounts["/sys/fs/cgroup"]["options"]
    spec["command"] = None
    assert json.loads(template.compose(spec, image, place))["process"]["args"] == ["/e", "c"]
    with pytest.raises(NoCommand, match="no command specified"):
        template.compose(spec, ImageConfig({}), place)


def test_reasons_are_short_and_on_one_line() -> None:
    assert clip("X", "a\n  b") == "X: a b"
    assert len(clip("X", "a" * 300)) == 255


def test_complaints_of_runtimes_are_recognised() -> None:
    crun = b'{"msg":"exec container process `/x`: Exec format error","level":"error"}\n'
    assert exec_failure_of(crun) == "exec container process `/x`: Exec format error"
    assert exec_failure_of(b"exec /x: exec format error\n") == "exec /x: exec format error"
    assert exec_failure_of(b"exec /x: something else\n") == ""


@given(st.lists(st.binary(max_size=400)))
def test_cutting_changes_no_byte(chunks: list[bytes]) -> None:
    cutter = LineCutter()
    payloads = [payload for chunk in chunks for payload in cutter.cut(chunk)]
    assert b"".join([*payloads, cutter.finish()]) == b"".join(chunks)
    assert all(payload.endswith(b"\n") for payload in payloads)


def test_long_lines_are_cut_between_characters() -> None:
    cutter = LineCutter()
    data = "€".encode() * 200_000 + b"\nshort\n"
    payloads = [p for i in range(0, len(data), 65536) for p in cutter.cut(data[i : i + 65536])]
    assert b"".join(payloads) == data
    assert all(len(line) <= LINE_BYTES_MAX for p in payloads for line in p.split(b"\n"))
    for payload in payloads:
        payload.decode()


@given(st.lists(st.tuples(st.integers(1, 2**60), st.text(min_size=1, max_size=30))))
def test_spool_gives_back_what_was_put_in(entries: list[tuple[int, str]]) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"spool-{os.getpid()}"
    path.unlink(missing_ok=True)
    writer = SpoolWriter(str(path))
    for at_ms, text in entries:
        writer.append(text.replace("\r", "").replace("\n", "").encode() + b"\n", at_ms)
    data = path.read_bytes() if path.exists() else b""
    lines, used = decode(data)
    assert used == writer.size == len(data)
    clean = [(a, t.replace("\r", "").replace("\n", "")) for a, t in entries]
    assert lines == clean
    lines, used = decode(data[:-1] if data else b"")
    assert lines == clean[:-1]
    assert decode(data + b"\0" * 50) == (clean, len(data))
    writer.close()
    path.unlink(missing_ok=True)


def test_taken_output_gives_its_space_back(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path / "spool"))
    payload = b"x" * 65535 + b"\n"
    for _ in range(64):
        writer.append(payload, 1)
    before = (tmp_path / "spool").stat().st_blocks
    writer.mark_taken(writer.size)
    status = (tmp_path / "spool").stat()
    assert status.st_size == writer.size
    assert status.st_blocks < before / 4
    writer.close()


def test_backlog_counts_what_was_not_taken(tmp_path: Path) -> None:
    writer = SpoolWriter(str(tmp_path / "spool"))
    payload = b"x" * (4 * 1024 * 1024) + b"\n"
    for _ in range(4):
        writer.append(payload, 1)
    assert writer.is_backlogged
    writer.mark_taken(writer.size)
    assert writer.size == writer.taken
    writer.close()


def test_records_survive_half_done_work(tmp_path: Path) -> None:
    record = TaskRecord(str(tmp_path), "t")
    (tmp_path / "t.task").touch()  # killed between making the file and writing to it
    assert record.read() is None
    record.delete([])
    spec = _spec(["x"])
    record.claim(spec, images=None)
    with pytest.raises(Stored):
        record.claim(spec, images=None)
    kept = record.read()
    assert kept is not None
    assert (kept.images, kept.end) == (None, None)
    record.write_images(["i", "j"])
    record.write_launch(0)
    record.write_launch(1)
    first = ContainerEnd(exit_code=2, reason=None, spool_size=3)
    record.write_unit_end(1, first)
    end = End(at_ms=1, containers=[first], started_at_ms=0, address="10.0.0.2")
    record.write_end(end)
    with (tmp_path / "t.task").open("ab") as file:
        file.write(b"\0\0half a li")  # as after a power failure
    kept = record.read()
    assert kept is not None
    assert kept.spec["containers"][0]["command"] == ["x"]
    assert (kept.images, kept.launched) == (["i", "j"], {0, 1})
    assert kept.end_by_unit[1].to_plain() == first.to_plain()
    assert kept.end is not None
    assert kept.end.to_plain() == end.to_plain()
    (tmp_path / "t-1.spool").touch()
    record.delete(["t-0", "t-1"])
    assert list(tmp_path.iterdir()) == []


def test_records_of_the_first_version_are_read(tmp_path: Path) -> None:
    """A task then was one container, whose members lay beside the task's own."""
    (tmp_path / "t.task").write_text(
        '{"spec":{"task_id":"t","image":"b","limits":{"cpu_milli":1,"memory_mib":2,"gpu_count":0},'
        '"log":null,"command":["x"],"environment":[],"is_cpu_capped":true,"user":null,'
        '"is_root_read_only":false,"has_init":false,'
        '"mounts":[{"source":null,"destination":"/d","is_read_only":false}],'
        '"ulimits":[],"tmpfs":[],"shared_memory_mib":64},"image":null}\n'
        '{"image":"i"}\n'
        '{"end":{"at_ms":5,"exit_code":3,"reason":null,"is_lost":false,"started_at_ms":4,'
        '"spool_size":9,"lost_bytes":0}}\n'
    )
    kept = TaskRecord(str(tmp_path), "t").read()
    assert kept is not None
    assert kept.spec["is_cpu_capped"]
    (container,) = kept.spec["containers"]
    assert (container["image"], container["is_essential"]) == ("b", True)
    assert container["mounts"][0]["volume"] == ""
    assert kept.images == ["i"]
    assert kept.end is not None
    (end,) = kept.end.containers
    assert (kept.end.at_ms, kept.end.started_at_ms) == (5, 4)
    assert (end.exit_code, end.spool_size, end.was_stopped) == (3, 9, False)


def test_large_trees_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "trash").mkdir()
    small, large = tmp_path / "roots" / "a", tmp_path / "roots" / "b"
    for directory, count in ((small, 3), (large, 200)):
        directory.mkdir(parents=True)
        for number in range(count):
            (directory / str(number)).touch()
    assert delete_tree(str(small)) == []
    (aside,) = delete_tree(str(large))
    assert not small.exists()
    assert not large.exists()
    assert Path(aside).parent == tmp_path / "trash"
    assert delete_tree(str(tmp_path / "roots" / "never")) == []


def test_missing_runtime_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Trouble, match=r"crun is not installed; runc is not installed.*apt-get"):
        detect.find_runtime(tmp_path)


def test_who_looks_before_the_first_start_makes_no_folder(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("trying a runtime needs root")
    data_dir = tmp_path / "none yet"
    assert detect.find_runtime(data_dir).version
    checks = {check.name: check for check in detect.run_checks(data_dir)}
    assert checks["runtime"].is_ok, checks["runtime"].detail
    assert not data_dir.exists()


def test_broken_runtime_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "crun"
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if os.geteuid() != 0:
        pytest.skip("trying a runtime needs root")
    with pytest.raises(Trouble, match=r"crun does not work here: .*broken"):
        detect.find_runtime(tmp_path, "crun")


def test_broken_runtime_is_told_also_where_there_is_no_busybox_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("trying a runtime needs root")
    broken = tmp_path / "crun"
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert detect.probe("crun", str(broken)) == "broken"


def test_doctor_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [check.name for check in detect.run_checks(tmp_path)]
    assert names == [
        *("root", "cgroups", "overlay", "runtime", "skopeo", "busybox", "init", "network", "disk")
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    skopeo = next(check for check in detect.run_checks(tmp_path) if check.name == "skopeo")
    assert not skopeo.is_ok
    assert skopeo.remedy == "apt-get install skopeo"


def test_modules_in_the_current_folder_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's folder, `/tmp` for one, must not decide what root runs."""
    if os.geteuid() != 0:
        pytest.skip("trying a runtime needs root")
    path = shutil.which("crun") or shutil.which("runc")
    assert path is not None
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert detect.probe(Path(path).name, path) == ""


def test_without_processes_to_spare_trash_is_kept_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    groups = Groups(layout_of(""), "batchyard-test")
    keeper = Supervisor(str(tmp_path), groups)
    spawned: list[list[str]] = []

    def refuse(*_: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def spawn(_path: str, arguments: list[str], _environment: object) -> int:
        spawned.append(arguments)
        return 1

    monkeypatch.setattr(os, "posix_spawn", refuse)
    keeper._discard(["/trash/1", "/trash/2"])
    monkeypatch.setattr(os, "posix_spawn", spawn)
    keeper._clear_up()
    assert spawned == [["rm", "-rf", "--", "/trash/1", "/trash/2"]]


def test_a_group_that_is_busy_is_tried_again_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    keeper = Supervisor(str(tmp_path), Groups(layout_of(""), "batchyard-test"))
    answers = [False, False, True]
    monkeypatch.setattr(Launcher, "remove_group", lambda *_: answers.pop(0))
    container = Container(
        unit_id="a",
        pid=1,
        stdout=0,
        stderr=0,
        runtime="crun",
    )
    keeper.life.busy_groups.append(container)
    for _ in range(3):
        timeout_s = keeper._next_timeout_s()
        assert timeout_s is not None
        assert 0 < timeout_s <= 1
        keeper._clear_up()
    assert answers == []
    assert keeper._next_timeout_s() is None


def test_a_pipe_that_somebody_goes_on_writing_to_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task can hand its end of a pipe to another task, through a socket that both reach."""
    (spec,) = _spec(["true"])["containers"]
    unit = Unit(spec, task_id="t", unit_id="t", number=0, spool_path=str(tmp_path / "t.spool"))
    ends = [os.pipe(), os.pipe()]
    unit.container = Container(
        unit_id="t",
        pid=1,
        stdout=ends[0][0],
        stderr=ends[1][0],
        runtime="crun",
    )
    unit.open_pipes()
    reads: list[int] = []

    def read_and_find_more(_unit: Unit, fd: int) -> bool:
        reads.append(fd)
        assert len(reads) < 100
        return True  # the pipe is as full as before

    monkeypatch.setattr(Unit, "read_pipe", read_and_find_more)
    os.write(ends[0][1], b"a\n")
    unit.drain_pipes()
    assert reads == [ends[0][0]]  # a pipe of this size holds no more than one read takes
    for fd in (fd for pair in ends for fd in pair):
        os.close(fd)


def test_read_only_control_groups_are_told_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an ordinary container, without privileges, shows of them."""
    closed = os.statvfs_result([4096, 4096, 0, 0, 0, 0, 0, 0, os.ST_RDONLY, 255])
    monkeypatch.setattr(os, "statvfs", lambda _path: closed)
    with pytest.raises(Trouble, match=r"are read-only: .* --privileged"):
        detect.find_runtime(tmp_path)
    checks = {check.name: check for check in detect.run_checks(tmp_path)}
    assert not checks["cgroups"].is_ok
    assert "--privileged" in checks["cgroups"].remedy
    assert "apt-get" not in checks["runtime"].remedy


def test_a_queued_container_whose_time_passes_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let in in time, but many others are being made before it."""
    for name in ("run", "tasks"):
        (tmp_path / name).mkdir()
    life = Supervisor(str(tmp_path), Groups(layout_of(""), "batchyard-test")).life
    life._making_max = 0
    spec = _spec(["true"])
    (base,) = spec["containers"]
    after: StartsAfterShape = {"container": "first", "condition": "START"}
    spec["containers"] = [
        {**base, "name": "first"},
        {**base, "name": "second", "starts_after": [after], "start_timeout_ms": 10},
    ]
    clock = [0]
    monkeypatch.setattr("batchyard.compute.local.supervisor.life.clock_ms", lambda: clock[0])
    life.accept(spec, ["image", "image"])
    assert life.next_timeout_s() == 0.011
    first, second = life.tasks["probe"].units
    first.started_at_ms = first.started_clock_ms = 5
    clock[0] = 9
    life._advance(life.tasks["probe"])
    assert second.is_queued
    clock[0] = 20
    life.act_on_time()
    assert (second.end, life.next_timeout_s()) == (None, None)
    life.stop("probe", grace_ms=0)
    assert second.end is not None
