"""`batchyard demo`: a map-reduce on real text, over AWS's API, in real containers.

Owns the demo's folder and server from start to end: whatever happens, what was started is stopped
and what was written is removed, unless `--keep` says otherwise.
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click
import msgspec
from rich.console import Console

from batchyard.cli.background import start_server, stop_server
from batchyard.cli.client import client_of
from batchyard.cli.demo.image import IMAGE, engine_of, provide_image
from batchyard.cli.demo.show import JobBoard, count_table, print_log, step
from batchyard.cli.demo.text import (
    SHARD_COUNT,
    balance,
    copy_shards,
    count_words,
    find_sources,
    library_path,
    read_counts,
)
from batchyard.cli.demo.yard import DemoYard, Folders, Job, describe_outcome
from batchyard.cli.program import program_name
from batchyard.cli.server_file import find_server
from batchyard.cli.settings import Settings, read_settings

_JOBS_S_MAX = 100.0
_FAILURES_SHOWN_MAX = 3
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--data-dir", metavar="DIR", help="An empty folder to work in, which stays.")
@click.option("--keep", is_flag=True, help="Leave the server running at the end.")
def demo(*, data_dir: str | None, keep: bool) -> None:
    """Show batchyard at work.

    A map-reduce on real text, on a server of its own that is gone at the end.
    """
    console = Console(highlight=False)
    begun_s = time.monotonic()
    console.print("\n[bold]batchyard demo[/]: a map-reduce over AWS Batch's API, on this machine\n")
    with _interrupts_raise(), _folder(data_dir) as work:
        folders = Folders(input=work.path / "demo" / "input", output=work.path / "demo" / "output")
        settings = _settings(work.path, folders)
        next_steps = _what_next(settings, is_kept=keep, is_temporary=data_dir is None)
        try:
            _prepare(console, settings, folders)
            with _served(console, settings, is_kept=keep) as yard, _answers_understood():
                work.is_kept = work.is_kept or keep
                _run(console, yard, folders)
        except KeyboardInterrupt:
            work.is_kept = data_dir is not None
            console.print("\nstopped, and cleaned up")
            raise SystemExit(130) from None
        except click.ClickException:
            if find_server(work.path) is not None:
                console.print(next_steps, soft_wrap=True)
            raise
        console.print(f"\nall of it took {time.monotonic() - begun_s:.1f} seconds\n")
        console.print(next_steps, soft_wrap=True)


# ── the folder and the server ────────────────────────────────────────────────────────────


class _Folder:
    def __init__(self, path: Path, *, is_kept: bool) -> None:
        self.path = path
        self.is_kept = is_kept


@contextmanager
def _folder(data_dir: str | None) -> Iterator[_Folder]:
    """Give a folder for everything: a temporary one that goes at the end, or the one asked for."""
    if data_dir is None:
        folder = _Folder(Path(tempfile.mkdtemp(prefix="batchyard-demo-")), is_kept=False)
    else:
        folder = _Folder(Path(data_dir).expanduser().absolute(), is_kept=True)
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.path.iterdir()):
            raise click.ClickException(f"{folder.path} is not empty; the demo needs its own folder")
    try:
        yield folder
    finally:
        # A server that could not be stopped still needs its files.
        if not folder.is_kept and find_server(folder.path) is None:
            with _interrupts_wait():
                shutil.rmtree(folder.path, ignore_errors=True)


def _settings(path: Path, folders: Folders) -> Settings:
    """Take from the operator's settings how to use the machine, and nothing else."""
    given = read_settings({})
    return msgspec.structs.replace(
        Settings(),
        data_dir=str(path),
        port=0,
        host_paths=(str(folders.input), str(folders.output)),
        runtime=given.runtime,
        engine_socket=given.engine_socket,
        machine_vcpus=given.machine_vcpus,
        machine_memory_mib=given.machine_memory_mib,
        cpu_overcommit=given.cpu_overcommit,
        memory_overcommit=given.memory_overcommit,
    )


@contextmanager
def _served(console: Console, settings: Settings, *, is_kept: bool) -> Iterator[DemoYard]:
    """Run a server; stop it with its jobs at the end, unless it is to be kept."""
    yard: DemoYard | None = None
    is_interrupted = False
    try:
        with step(console, "server") as current:
            with _interrupts_wait():
                server = start_server(settings)
            current.text = f"up at {server.endpoint}, data in {settings.data_path}"
        yard = DemoYard(batch=client_of(settings, "batch"), logs=client_of(settings, "logs"))
        yield yard
    except KeyboardInterrupt:
        is_interrupted = True
        raise
    finally:
        if is_interrupted or not is_kept or yard is None:
            with _interrupts_wait():
                _stop(console, settings, yard)


def _stop(console: Console, settings: Settings, yard: DemoYard | None) -> None:
    if find_server(settings.data_path) is not None and yard is not None:
        from botocore.exceptions import BotoCoreError, ClientError

        # Whatever a job or the server does, the server is stopped next.
        with suppress(BotoCoreError, ClientError):
            yard.stop_everything()
    try:
        stop_server(settings.data_path)
    except click.ClickException as error:
        console.print(f"[red]the server was not stopped:[/] {error.message}")
        console.print(f"its data is in {settings.data_path}")


@contextmanager
def _answers_understood() -> Iterator[None]:
    """Tell of a refusal, or of a server that is gone, in one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _interrupts_raise() -> Iterator[None]:
    """Let every polite way of ending us end in the same clean-up as Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in _INTERRUPTS]
    try:
        yield
    finally:
        for number, handler in zip(_INTERRUPTS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold interrupts back while something must not be left half done."""
    arrived: list[int] = []
    before = [
        signal.signal(number, lambda found, _frame: arrived.append(found)) for number in _INTERRUPTS
    ]
    try:
        yield
    finally:
        for number, handler in zip(_INTERRUPTS, before, strict=True):
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


# ── the story ────────────────────────────────────────────────────────────────────────────


def _prepare(console: Console, settings: Settings, folders: Folders) -> None:
    with step(console, "text") as current:
        root = library_path()
        try:
            folders.output.mkdir(parents=True)
            files = find_sources(root)
            copy_shards(balance(files, SHARD_COUNT), root, folders.input)
        except OSError as error:
            raise click.ClickException(f"the text cannot be copied: {error}") from error
        megabytes = sum(file.size_bytes for file in files) / 1e6
        current.text = (
            f"{len(files)} files of Python's own library, {megabytes:.1f} MB, {SHARD_COUNT} shards"
        )
    with step(console, "image") as current:
        with _interrupts_wait():
            engine = engine_of(settings)
        current.text = provide_image(settings.data_path, engine)


def _run(console: Console, yard: DemoYard, folders: Folders) -> None:
    with step(console, "yard") as current:
        yard.create_environments()
        yard.register_definitions(IMAGE, folders)
        current.text = "a FARGATE and an EC2 environment, a queue for each, three job definitions"
    with step(console, "hello") as current:
        (greeting,) = yard.watch([yard.submit_greeting()], lambda _: None, timeout_s=_JOBS_S_MAX)
        current.text = "a first job, on FARGATE with a quarter of a vCPU; its log:"
        _demand_success(console, yard, [greeting])
    print_log(console, yard.read_log(greeting))
    names = yard.submit_map_reduce(SHARD_COUNT)
    console.print(f"\n{SHARD_COUNT} jobs count words; the last waits for all of them and merges\n")
    with JobBoard(console) as board:
        jobs = yard.watch(names, board.show, timeout_s=_JOBS_S_MAX)
    _demand_success(console, yard, jobs)
    *counting, merging = jobs
    console.print("\nwhat the merging job printed (its log, from CloudWatch Logs GetLogEvents)\n")
    console.print(count_table([event["message"] for event in yard.read_log(merging)]))
    console.print(f"\nthe log of {counting[0]['jobName']}\n")
    print_log(console, yard.read_log(counting[0]))
    console.print()
    _check(console, folders)


def _check(console: Console, folders: Folders) -> None:
    """Compare every count of the jobs with a direct computation."""
    with step(console, "check") as current:
        expected = count_words(folders.input)
        if read_counts(folders.output / "total.tsv") != expected:
            raise click.ClickException("the jobs' result differs from the direct computation")
        current.text = (
            f"all {len(expected):,} words and {expected.total():,} occurrences agree with a direct"
            " computation in Python"
        )


def _demand_success(console: Console, yard: DemoYard, jobs: list[Job]) -> None:
    failed = [job for job in jobs if job["status"] != "SUCCEEDED"]
    if not failed:
        return
    for job in failed[:_FAILURES_SHOWN_MAX]:
        print_log(console, yard.read_log(job))
    lines = [describe_outcome(job) for job in failed[:_FAILURES_SHOWN_MAX]]
    raise click.ClickException("\n".join([f"{len(failed)} jobs failed", *lines]))


def _what_next(settings: Settings, *, is_kept: bool, is_temporary: bool) -> str:
    """Name commands to go on with; each works as it stands."""
    program = program_name()
    if not is_kept:
        return (
            "[bold]What to try next[/]\n\n"
            "the same again, and its server stays to look around:\n"
            f"  {program} demo --keep\n"
            "a server that stays, in /var/lib/batchyard:\n"
            "  make up\n"
            "and in another shell, so that every AWS client talks to it:\n"
            f'  eval "$({program} env)" && aws batch describe-job-queues\n\n'
            "README.md has a tour of five minutes with the aws command.\n"
        )
    where = settings.data_path
    remove = f" && rm -r {where}" if is_temporary else ""
    return (
        "[bold]The server stays. What to try next[/]\n\n"
        f'  eval "$({program} env --data-dir {where})"\n'
        "  aws batch submit-job --job-name again --job-queue demo-ec2 \\\n"
        "      --job-definition count-words --parameters shard=shard-03\n"
        "  aws batch list-jobs --job-queue demo-ec2 --job-status SUCCEEDED\n"
        f"  {program} jobs --data-dir {where}\n\n"
        "and at the end:\n"
        f"  {program} down --data-dir {where}{remove}\n"
    )
