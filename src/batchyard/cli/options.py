"""Command-line options that several commands share; each is also a setting and a variable."""

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])

data_dir_option = click.option(
    "--data-dir", metavar="DIR", help="The server's folder [BATCHYARD_DATA_DIR]."
)

_SETTINGS_OPTIONS = [
    click.option("--config", metavar="FILE", help="Settings as TOML [BATCHYARD_CONFIG]."),
    click.option("--host", help="Address to listen on; default 127.0.0.1 [BATCHYARD_HOST]."),
    click.option("--port", type=int, help="Port; default 7070, 0 for any [BATCHYARD_PORT]."),
    data_dir_option,
    click.option("--db", metavar="URL", help="sqlite:///… or postgresql://… [BATCHYARD_DB]."),
    click.option(
        "--host-path",
        "host_paths",
        metavar="DIR",
        multiple=True,
        callback=lambda _context, _option, value: value or None,
        help="A folder that jobs may mount; may be repeated [BATCHYARD_HOST_PATHS].",
    ),
    click.option(
        "--machine-vcpus", type=float, help="vCPUs for jobs; default all [BATCHYARD_MACHINE_VCPUS]."
    ),
    click.option(
        "--machine-memory-mib",
        type=int,
        help="MiB for jobs; default all [BATCHYARD_MACHINE_MEMORY_MIB].",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Default info [BATCHYARD_LOG_LEVEL].",
    ),
]


def settings_options(command: F) -> F:
    """Add every setting that has a command-line option."""
    for option in reversed(_SETTINGS_OPTIONS):
        command = option(command)
    return command
