"""A rig with real containers, and its image."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from tests.fixtures.engines import Engine
from tests.ports import conftest as ports
from tests.ports.rigs import EngineRig, LocalRig, make_image_store

short_path = ports.short_path


@pytest.fixture(scope="session")
def busybox_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ports.require_containers("crun")
    return make_image_store(tmp_path_factory.mktemp("busybox"))


@pytest.fixture(scope="session")
def runtime() -> Literal["crun", "runc"]:
    ports.require_containers("crun")
    return "crun"


@pytest_asyncio.fixture
async def engine_rig(short_path: Path, docker: Engine) -> AsyncIterator[EngineRig]:
    made = EngineRig(short_path / "d", docker)
    made.host_paths = [short_path / "allowed"]
    yield made
    await made.close()


@pytest_asyncio.fixture
async def podman_rig(short_path: Path, podman: Engine) -> AsyncIterator[EngineRig]:
    made = EngineRig(short_path / "d", podman)
    made.host_paths = [short_path / "allowed"]
    yield made
    await made.close()


@pytest_asyncio.fixture
async def rig(
    short_path: Path, busybox_images: Path, runtime: Literal["crun", "runc"]
) -> AsyncIterator[LocalRig]:
    made = LocalRig(short_path / "d", runtime, busybox_images)
    made.host_paths = [short_path / "allowed"]
    yield made
    await made.close()
