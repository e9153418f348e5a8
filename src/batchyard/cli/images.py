"""`batchyard image`: the images that containers are made of, on this machine."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import Settings, read_settings
from batchyard.cli.tables import print_table
from batchyard.compute.docker.detect import KINDS, find_engine, load_image
from batchyard.compute.local.images.archives import NotAnImage
from batchyard.compute.local.images.busybox import make_busybox_archive, make_busybox_image
from batchyard.compute.local.images.image_store import ImageInfo, ImageInUse, ImageStore
from batchyard.compute.local.images.pull import Puller, PullFailed
from batchyard.compute.local.images.references import BadReference, parse_reference
from batchyard.compute.port import Trouble


@click.group()
def image() -> None:
    """Pull, import, list and remove images. A running server sees the change at once."""


@image.command("pull")
@click.argument("name")
@data_dir_option
def pull(*, name: str, data_dir: str | None) -> None:
    """Pull NAME (as for docker: name[:tag] or name@sha256:…) from its registry."""
    settings = read_settings({"data_dir": data_dir})
    _refuse_with_engine(settings, f"pull {name}")
    store = ImageStore(settings.data_path)
    puller = Puller(store, insecure_registries=settings.insecure_registries)
    with _failures(), Console(stderr=True).status(f"pulling {name}") as line:
        image_id = asyncio.run(
            puller.pull(name, progress=lambda text: line.update(f"pulling {name}: {text}"))
        )
    click.echo(image_id)


@image.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.argument("name", required=False)
@data_dir_option
def import_(*, path: Path, name: str | None, data_dir: str | None) -> None:
    """Import PATH: a docker-archive, an OCI layout, or a root file system as tar.

    NAME replaces the names in the archive; a root file system has none and needs one.
    """
    settings = read_settings({"data_dir": data_dir})
    _refuse_with_engine(settings, f"load --input {path}")
    store = ImageStore(settings.data_path)
    with _failures(), Console(stderr=True).status(f"importing {path}") as line:
        imported = store.import_archive(
            path, name=name, progress=lambda text: line.update(f"importing {path}: {text}")
        )
    for each in imported:
        click.echo(_first_name(each))


@image.command("busybox")
@click.argument("name", default="busybox")
@data_dir_option
def busybox(*, name: str, data_dir: str | None) -> None:
    """Build a small image from this machine's static busybox, for want of a registry."""
    settings = read_settings({"data_dir": data_dir})
    if settings.runtime in KINDS:
        with _failures():
            engine = find_engine(settings.runtime, settings.engine_socket)
            load_image(engine, make_busybox_archive(name))
        click.echo(str(parse_reference(name)))
        return
    store = ImageStore(settings.data_path)
    with _failures():
        click.echo(_first_name(make_busybox_image(store, name)))


@image.command("list")
@data_dir_option
def list_(*, data_dir: str | None) -> None:
    """List the images."""
    settings = read_settings({"data_dir": data_dir})
    _refuse_with_engine(settings, "images")
    store = ImageStore(settings.data_path)
    print_table(
        ("NAME", "IMAGE ID", "LAYERS", "MIB", "STORED"),
        (
            (
                name,
                each.image_id[:19],
                str(each.layer_count),
                f"{each.size_bytes / 2**20:.1f}",
                _minute(each.created_at_ms),
            )
            for each in store.list_images()
            for name in each.names or ("(none)",)
        ),
    )


def _minute(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


@image.command("rm")
@click.argument("names", nargs=-1, required=True)
@data_dir_option
def remove(*, names: tuple[str, ...], data_dir: str | None) -> None:
    """Remove images by NAME. An image that a task uses is kept."""
    settings = read_settings({"data_dir": data_dir})
    _refuse_with_engine(settings, f"rmi {' '.join(names)}")
    store = ImageStore(settings.data_path)
    for name in names:
        with _failures():
            try:
                store.remove(name)
            except KeyError:
                raise click.ClickException(f"there is no image {name}") from None


def _refuse_with_engine(settings: Settings, instead: str) -> None:
    """An engine has its own images, and its own commands for them."""
    if settings.runtime in KINDS:
        raise click.ClickException(
            f"with the setting runtime={settings.runtime} its images are used:"
            f" {settings.runtime} {instead}"
        )


def _first_name(info: ImageInfo) -> str:
    return info.names[0] if info.names else info.image_id


@contextmanager
def _failures() -> Iterator[None]:
    """Say what went wrong in one line."""
    try:
        yield
    except PermissionError as error:
        raise click.ClickException(f"{error}; run this with sudo?") from error
    except (NotAnImage, BadReference, PullFailed, ImageInUse, Trouble) as error:
        raise click.ClickException(str(error)) from error
