"""`batchyard doctor`: what is missing on this machine, and how to get it."""

import sys

import click

from batchyard.cli.options import data_dir_option
from batchyard.cli.program import program_name
from batchyard.cli.server_file import find_server
from batchyard.cli.settings import Settings, read_settings
from batchyard.cli.tables import print_table
from batchyard.compute.choice import check_engines, choose
from batchyard.compute.local.detect import Check, run_checks
from batchyard.compute.port import Trouble

#: Of what the direct runtime needs.
_NEEDED_WITH_ENGINE = ("disk",)


@click.command()
@data_dir_option
def doctor(*, data_dir: str | None) -> None:
    """Check everything that a server and its containers need.

    Exits with 1 if something is amiss.
    """
    settings = read_settings({"data_dir": data_dir})
    checks = [
        _check_python(),
        *_check_runtimes(settings),
        _check_server(settings),
    ]
    print_table(
        ("CHECK", "", "FOUND", "WHAT TO DO"),
        (
            (check.name, "ok" if check.is_ok else "missing", check.detail, check.remedy)
            for check in checks
        ),
    )
    if not all(check.is_ok for check in checks):
        raise click.exceptions.Exit(1)


def _check_runtimes(settings: Settings) -> list[Check]:
    """What the direct runtime lacks is amiss only where it is to be used."""
    engines = check_engines(settings.runtime, socket_path=settings.engine_socket)
    direct = run_checks(settings.data_path, network_range=settings.node_network)
    try:
        choice = choose(settings.data_path, settings.runtime, socket_path=settings.engine_socket)
    except (Trouble, OSError) as error:
        return [*direct, *engines, Check(name="containers", is_ok=False, detail=str(error))]
    engine = choice.engine
    where = "directly" if engine is None else f"through {engine.kind} at {engine.socket_path}"
    chosen = Check(name="containers", is_ok=True, detail=f"run {where}: {choice.why}")
    if engine is None:
        return [*direct, *engines, chosen]
    needed = [check for check in direct if check.name in _NEEDED_WITH_ENGINE]
    return [*needed, *engines, chosen]


def _check_python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check(name="python", is_ok=True, detail=f"{version} at {sys.executable}")


def _check_server(settings: Settings) -> Check:
    """A server that is not up is nothing to mend; say how to start one all the same."""
    server = find_server(settings.data_path)
    if server is not None:
        return Check(name="server", is_ok=True, detail=f"up at {server.endpoint}")
    remedy = f"{program_name()} up starts it"
    return Check(name="server", is_ok=True, detail="not up", remedy=remedy)
