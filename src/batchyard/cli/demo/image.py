"""The demo's image: busybox, from a registry where one can be reached, else made on the spot."""

import asyncio
from pathlib import Path

import click

from batchyard.cli.settings import Settings
from batchyard.compute.choice import choose
from batchyard.compute.docker.detect import FoundEngine, load_image
from batchyard.compute.local.images.busybox import make_busybox_archive, make_busybox_image
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.images.pull import Puller, PullFailed
from batchyard.compute.port import Trouble

IMAGE = "busybox"

#: A registry that takes longer than this counts as out of reach; the demo should be quick.
_PULL_S_MAX = 15.0


def engine_of(settings: Settings) -> FoundEngine | None:
    """Find the engine that will run the demo's containers; None: they are run directly.

    Tries a container where that is to be found out, so it should not be interrupted. Raises
    ClickException if nothing here can run any.
    """
    try:
        return choose(
            settings.data_path, settings.runtime, socket_path=settings.engine_socket
        ).engine
    except Trouble as error:
        raise click.ClickException(str(error)) from error


def provide_image(data_path: Path, engine: FoundEngine | None) -> str:
    """Put the image where the server will look for it; say where it came from.

    Raises ClickException if it can be neither pulled nor made.
    """
    if engine is None:
        return _provide_in_store(data_path)
    try:
        load_image(engine, make_busybox_archive(IMAGE))
    except Trouble as error:
        raise click.ClickException(str(error)) from error
    return f"{IMAGE}, made from this machine's own busybox, given to {engine.kind}"


def _provide_in_store(data_path: Path) -> str:
    store = ImageStore(data_path)
    try:
        asyncio.run(asyncio.wait_for(Puller(store).pull(IMAGE), _PULL_S_MAX))
    except TimeoutError:
        cause = f"the registry did not deliver it within {_PULL_S_MAX:g} seconds"
    except PullFailed as error:
        cause = str(error)
    else:
        return f"{IMAGE}, pulled from its registry"
    try:
        make_busybox_image(store, IMAGE)
    except Trouble as error:
        raise click.ClickException(
            f"{IMAGE} can neither be pulled ({cause}) nor made here: {error}"
        ) from error
    # The last part of the message is the cause; before it stands what was tried.
    return (
        f"{IMAGE}, made from this machine's own busybox, as no registry answered"
        f" ({cause.rpartition(': ')[2]})"
    )
