"""`batchyard up` and `down`: a server in the foreground or the background, and its clean end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click
import structlog
import uvloop

from batchyard.access.keys import CredentialsFileError
from batchyard.cli.background import start_server, stop_server
from batchyard.cli.logging_setup import set_up_logging
from batchyard.cli.options import data_dir_option, settings_options
from batchyard.cli.program import program_name
from batchyard.cli.server_file import (
    RunningServer,
    find_server,
    remove_server_file,
    write_server_file,
)
from batchyard.cli.settings import Settings, read_settings
from batchyard.compute.port import Trouble
from batchyard.store import LeadershipLost, StoreTrouble
from batchyard.wire.server import CannotListen

_log = structlog.get_logger()


@click.command()
@settings_options
@click.option("--detach", "-d", is_flag=True, help="Start in the background and return when ready.")
@click.option("--ready-fd", type=int, hidden=True)
def up(*, detach: bool, ready_fd: int | None, config: str | None, **given: Any) -> None:
    """Start the server.

    It stays in the foreground until Ctrl-C. Jobs that run are left running: the next start finds
    them again.
    """
    settings = read_settings(given, config=config)
    if detach:
        server = start_server(settings, config=config)
        click.echo(f"batchyard is up at {server.endpoint} (pid {server.pid})")
        click.echo(_hint(settings))
        return
    set_up_logging(settings.log_level)
    running = find_server(settings.data_path)
    if running is not None:
        raise click.ClickException(
            f"a server (pid {running.pid}) is up for {settings.data_path} at {running.endpoint}; "
            f"`{program_name()} down` stops it"
        )
    try:
        uvloop.run(_serve(settings, _announcer(settings, ready_fd)))
    except PermissionError as error:
        raise click.ClickException(f"{error}; run this with sudo?") from error
    except (Trouble, StoreTrouble, CannotListen, CredentialsFileError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except ExceptionGroup as group:
        if group.subgroup(LeadershipLost) is not None:
            raise click.ClickException(
                "another server of this database has taken over; this one has ended, and will"
                " stand by when it is started again"
            ) from group
        trouble = group.subgroup((Trouble, StoreTrouble))
        if trouble is None:
            raise
        raise click.ClickException(_first_text(trouble)) from group


@click.command()
@data_dir_option
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the end.")
def down(*, data_dir: str | None, timeout: float) -> None:
    """Stop the server. Jobs that run are left running until the next start."""
    settings = read_settings({"data_dir": data_dir})
    if find_server(settings.data_path) is None:
        click.echo(f"no server is up for {settings.data_path}")
    stop_server(settings.data_path, timeout_s=timeout)


def _first_text(group: BaseExceptionGroup[Exception]) -> str:
    """Give the text of the first error in a group of groups."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


async def _serve(settings: Settings, announce: Callable[[str], None]) -> None:
    # Imported here, so that every other command starts fast.
    from batchyard.cli.serving import open_yard

    # The data folder may have been there before, open to all: what we make in it is not. A lock
    # that others can open they can also hold.
    os.umask(0o077)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _request_stop, stop)
    async with open_yard(settings) as yard:
        write_server_file(
            settings.data_path,
            RunningServer(pid=os.getpid(), endpoint=yard.url, region=settings.region),
        )
        try:
            announce(yard.url)
            stopping = asyncio.create_task(stop.wait())
            waited: list[asyncio.Future[Any]] = [stopping, yard.failed]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if yard.failed.done():
                await yard.failed
            _log.info("server_stopping")
        finally:
            remove_server_file(settings.data_path)


def _request_stop(stop: asyncio.Event) -> None:
    if stop.is_set():  # a second Ctrl-C: everything acknowledged is durable already
        os._exit(130)
    stop.set()


def _announcer(settings: Settings, ready_fd: int | None) -> Callable[[str], None]:
    def announce(url: str) -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"ready")
            os.close(ready_fd)
            return
        click.echo(f"batchyard is up at {url}; data in {settings.data_path}. Ctrl-C stops it.")
        click.echo(_hint(settings))
        sys.stdout.flush()

    return announce


def _hint(settings: Settings) -> str:
    option = "" if settings.data_dir == Settings().data_dir else f" --data-dir {settings.data_path}"
    return (
        f'In another shell:  eval "$({program_name()} env{option})" && '
        "aws batch describe-job-queues"
    )
