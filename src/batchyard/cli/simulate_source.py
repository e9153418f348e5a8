"""Where `batchyard simulate` has its jobs from: a file, or the store of a server of ours."""

from pathlib import Path
from time import time

import click

from batchyard.cli.serving import launch_times
from batchyard.cli.settings import read_settings
from batchyard.sim.config import Config, default_config
from batchyard.sim.history import read_history
from batchyard.sim.reading import read_trace
from batchyard.sim.server_setup import server_config
from batchyard.sim.trace import Trace
from batchyard.store import StoreTrouble
from batchyard.store.reading import open_for_reading


def read_file(path: Path, kind: str | None) -> tuple[Trace, Config]:
    """Read a trace, and a configuration to run it under if there is no other."""
    trace = read_trace(path, kind)
    if not trace.jobs:
        raise click.ClickException(f"{trace.name} has no jobs")
    return trace, default_config(trace)


def read_server(data_dir: str | None, db: str | None) -> tuple[Trace, Config]:
    """Read the jobs of a server, running or not, and how it is set up."""
    settings = read_settings({"data_dir": data_dir, "db": db})
    try:
        with open_for_reading(settings.db_url) as conn:
            trace = read_history(conn, round(time() * 1000))
            return trace, server_config(conn, launch_times(settings), trace)
    except StoreTrouble as trouble:
        raise click.ClickException(str(trouble)) from trouble
