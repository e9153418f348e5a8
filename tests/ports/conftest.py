"""Rigs for the port's suite: the twin everywhere, real containers where root and a runtime are."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal, cast

import pytest
import pytest_asyncio

from tests.ports.rigs import EngineRig, LocalRig, Rig, TwinRig, make_image_store


def require_containers(runtime: str) -> None:
    """Skip where containers cannot be run."""
    if os.geteuid() != 0:
        pytest.skip("running containers needs root")
    for command in (runtime, "busybox"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")


@pytest.fixture(scope="session")
def busybox_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image_store(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name, deleted with everything in it."""
    with tempfile.TemporaryDirectory(prefix="by-") as path:
        yield Path(path)


@pytest_asyncio.fixture(params=["twin", "crun", "runc", "docker", "podman"])
async def rig(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Rig]:
    made: Rig
    if request.param == "twin":
        made = TwinRig()
    elif request.param in ("docker", "podman"):
        made = EngineRig(short_path / "d", request.getfixturevalue(request.param))
    else:
        runtime = cast("Literal['crun', 'runc']", request.param)
        require_containers(runtime)
        images: Path = request.getfixturevalue("busybox_images")
        made = LocalRig(short_path / "d", runtime, images)
    yield made
    await made.close()
