"""What a container of the direct backend sees and is denied. Real containers; nothing sleeps."""

import pytest

from batchyard.compute.local.detect import find_init
from batchyard.compute.port import Mount, TaskEnded, TaskSpec, TaskStarted, Tmpfs, Ulimit
from batchyard.model.amounts import Amount
from batchyard.model.wording import OUT_OF_MEMORY
from tests.ports.rigs import LocalRig, change

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


async def run(rig: LocalRig, spec: TaskSpec) -> tuple[TaskEnded, list[str]]:
    backend, listener = await rig.open()
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    return ended, rig.sink.texts(spec.task_id)


async def test_environment_hostname_and_names(rig: LocalRig) -> None:
    spec = rig.shell("echo $A $HOME $HOSTNAME; hostname; pwd; grep -c $HOSTNAME /etc/hosts")
    ended, lines = await run(rig, change(spec, environment=(("A", "1"), ("A", "2"))))
    name = spec.task_id[:12]
    assert lines == [f"2 /root {name}", name, "/", "1"]
    assert ended.exit_code == 0


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("nobody", "65534 65534"),
        ("nobody:root", "65534 0"),
        ("1000", "1000 0"),
        ("1000:7", "1000 7"),
        ("65534", "65534 65534"),
    ],
)
async def test_user_forms(rig: LocalRig, user: str, shown: str) -> None:
    spec = change(rig.shell("echo $(id -u) $(id -g); echo again >/dev/stdout"), user=user)
    _, lines = await run(rig, spec)
    assert lines == [shown, "again"]


async def test_unknown_user_is_told(rig: LocalRig) -> None:
    ended, _ = await run(rig, change(rig.shell("true"), user="ghost"))
    assert ended.exit_code is None
    assert ended.reason == (
        "CannotStartContainerError: unable to find user ghost: no matching entries in passwd file"
    )


async def test_root_is_read_only_but_volumes_are_not(rig: LocalRig) -> None:
    spec = change(
        rig.shell(
            "exec 2>&1; touch /x || echo refused; touch /scratch/y && ls /scratch;"
            " touch /m/z && echo ok"
        ),
        is_root_read_only=True,
        mounts=(Mount(source=None, destination="/scratch"),),
        tmpfs=(Tmpfs(destination="/m", size_mib=1, options=("mode=1777",)),),
    )
    _, lines = await run(rig, spec)
    assert lines == ["touch: /x: Read-only file system", "refused", "y", "ok"]


async def test_shared_memory_and_tmpfs_have_their_sizes(rig: LocalRig) -> None:
    spec = change(
        rig.shell("df -m /dev/shm /t | awk 'NR>1 {print $2}'"),
        shared_memory_mib=17,
        tmpfs=(Tmpfs(destination="/t", size_mib=9),),
    )
    assert (await run(rig, spec))[1] == ["17", "9"]


async def test_bind_mounts_are_made_and_shared(rig: LocalRig) -> None:
    source = rig.host_paths[0] / "new" / "data"
    spec = change(
        rig.shell("exec 2>&1; echo kept > /data/file; touch /ro/x || echo refused"),
        mounts=(
            Mount(source=str(source), destination="/data"),
            Mount(source=str(source), destination="/ro", is_read_only=True),
        ),
    )
    _, lines = await run(rig, spec)
    assert lines[-1] == "refused"
    assert (source / "file").read_text() == "kept\n"


async def test_host_path_outside_the_allow_list_is_refused(rig: LocalRig) -> None:
    rig.host_paths[0].mkdir()
    (rig.host_paths[0] / "out").symlink_to("/etc")
    source = str(rig.host_paths[0] / "out" / "ssl")
    spec = change(rig.shell("ls /m"), mounts=(Mount(source=source, destination="/m"),))
    ended, _ = await run(rig, spec)
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith(
        f"CannotCreateVolumeError: host path {source} is not allowed; allowed are: "
    )


async def test_capabilities_and_devices_are_dockers_without_mknod(rig: LocalRig) -> None:
    script = "grep CapEff /proc/self/status; mknod /d c 1 3 || echo refused; ls /dev | tr '\\n' ' '"
    _, lines = await run(rig, rig.shell(script))
    assert int(lines[0].split()[1], 16) & ~0xA80425FB == 0
    assert int(lines[0].split()[1], 16) >> 27 & 1 == 0
    assert "refused" in lines
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm"} <= set(
        lines[-1].split()
    )


async def test_namespaces_hide_the_host(rig: LocalRig) -> None:
    _, lines = await run(
        rig, rig.shell("echo $$; ls /proc | grep -c '^[0-9]'; ls -d /sys/firmware/*")
    )
    assert lines[0] == "1"
    assert int(lines[1]) <= 4
    assert "No such file" in lines[2]


async def test_ulimits_are_set_and_clamped(rig: LocalRig) -> None:
    limits = (
        Ulimit(name="nofile", soft=100, hard=1_000_000_000),
        Ulimit(name="core", soft=0, hard=0),
    )
    ended, lines = await run(rig, change(rig.shell("ulimit -n; ulimit -c"), ulimits=limits))
    assert (ended.exit_code, ended.reason) == (0, None)
    assert lines == ["100", "0"]


async def test_init_runs_first_where_installed(rig: LocalRig) -> None:
    spec = change(rig.shell("cat /proc/1/comm; exit 4"), has_init=True)
    ended, lines = await run(rig, spec)
    if find_init() is None:
        assert ended.reason is not None
        assert ended.reason.startswith("CannotStartContainerError: initProcessEnabled needs ")
    else:
        assert ended.exit_code == 4
        assert lines in (["docker-init"], ["tini"], ["catatonit"])


async def test_memory_limit_is_told_from_a_plain_exit(rig: LocalRig) -> None:
    spec = rig.shell("exec awk 'BEGIN { s = \"x\"; while (1) s = s s }'")
    ended, _ = await run(rig, change(spec, limits=Amount(cpu_milli=100, memory_mib=16)))
    assert (ended.exit_code, ended.reason) == (137, OUT_OF_MEMORY)


async def test_memory_kill_of_a_child_is_told_with_the_own_exit_code(rig: LocalRig) -> None:
    spec = rig.shell("awk 'BEGIN { s = \"x\"; while (1) s = s s }'; exit 5")
    ended, _ = await run(rig, change(spec, limits=Amount(cpu_milli=100, memory_mib=16)))
    assert (ended.exit_code, ended.reason) == (5, OUT_OF_MEMORY)


async def test_smallest_memory_limit_runs(rig: LocalRig) -> None:
    spec = change(rig.shell("echo ok"), limits=Amount(cpu_milli=100, memory_mib=4))
    ended, lines = await run(rig, spec)
    assert (ended.exit_code, ended.reason, lines) == (0, None, ["ok"])


async def test_sigkill_from_inside_is_no_memory_kill(rig: LocalRig) -> None:
    ended, _ = await run(rig, rig.shell("sh -c 'kill -9 $$'; exit $?"))
    assert (ended.exit_code, ended.reason) == (137, None)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("nope",), "not found"),
        (("/etc/passwd",), "ermission denied"),
        (("/tmp/bad",), ""),
    ],
)
async def test_what_cannot_be_executed_is_told(
    rig: LocalRig, command: tuple[str, ...], text: str
) -> None:
    ended, lines = await run(rig, rig.shell("", command=command))
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith("CannotStartContainerError: ")
    assert text in ended.reason
    assert lines == []


async def test_wrong_executable_format_is_told(rig: LocalRig) -> None:
    rig.host_paths[0].mkdir()
    program = rig.host_paths[0] / "program"
    program.write_bytes(b"\x7fno program")
    program.chmod(0o755)
    mount = Mount(source=str(program), destination="/program", is_read_only=True)
    spec = change(rig.shell("", command=("/program",)), mounts=(mount,))
    backend, listener = await rig.open()
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith("CannotStartContainerError: ")
    assert "format error" in ended.reason.lower()
    assert rig.sink.texts(spec.task_id) == []


async def test_output_like_a_runtimes_complaint_is_still_output(rig: LocalRig) -> None:
    line = '{"msg":"exec container process `x`: Exec format error","level":"error"}'
    ended, lines = await run(rig, rig.shell(f"echo '{line}' >&2; exit 0"))
    assert (ended.exit_code, ended.reason, lines) == (0, None, [line])


async def test_odd_output_is_kept(rig: LocalRig) -> None:
    script = (
        "printf 'a\\377b\\r\\n\\nlast'; printf 'err' >&2;"
        " head -c 600000 /dev/zero | tr '\\0' 'x' >&2; echo >&2"
    )
    ended, lines = await run(rig, rig.shell(script))
    assert ended.exit_code == 0
    assert [line for line in lines if "x" not in line] == ["a\ufffdb", "", "last"]
    long_lines = [line for line in lines if "x" in line]
    assert [len(line) for line in long_lines] == [262144, 262144, 600003 - 2 * 262144]


async def test_output_without_target_is_dropped(rig: LocalRig) -> None:
    spec = change(rig.shell("yes | head -c 1000000; exit 2"), log=None)
    ended, lines = await run(rig, spec)
    assert (ended.exit_code, lines) == (2, [])


async def test_more_output_than_the_backlog_arrives_whole(rig: LocalRig) -> None:
    """20 MB, where 16 MiB may wait: the container is held up, and goes on."""
    ended, lines = await run(rig, rig.shell("yes $(printf %0199d 7) | head -n 100000; echo end"))
    assert ended.exit_code == 0
    assert len(lines) == 100_001
    assert set(lines[:-1]) == {"7".rjust(199, "0")}
    assert lines[-1] == "end"


@pytest.mark.parametrize(
    "change",
    [
        "echo x > /left",
        "rm -r /root",
        "chmod 700 /",
        "touch /x; rm /x",
        "mkdir -p /tmp/a; rm -r /tmp/a",
    ],
)
async def test_changed_root_is_not_used_again(rig: LocalRig, change: str) -> None:
    """Unchanged roots serve the next container; what a container changed must not show there."""
    backend, listener = await rig.open()
    look = "ls -la / | grep -v ' proc$'; ls -la /tmp /root"
    seen = []
    for script in (look, change, look, look):
        spec = rig.shell(script)
        await backend.start([spec])
        assert (await listener.ended(spec.task_id)).exit_code == 0
        seen.append(rig.sink.texts(spec.task_id))
    assert seen[0] == seen[2] == seen[3]


async def test_nothing_is_left_behind(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    specs = [rig.shell(f"mkdir -p /a/{n}; seq 1 200 | xargs -I_ touch /a/_") for n in range(4)]
    await backend.start(specs)
    for spec in specs:
        await listener.ended(spec.task_id)
    await backend.forget([spec.task_id for spec in specs])
    assert list((rig.data_dir / "tasks").iterdir()) == []
    started = [r for r in listener.reports if isinstance(r, TaskStarted)]
    assert len(started) == 4
