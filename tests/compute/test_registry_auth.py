"""Credentials for registries: where they are found, who gets them, and where they never appear."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.compute.port import RegistryAuth, TaskEnded
from batchyard.compute.registry_auth import BroughtAuths, auth_for
from batchyard.model.ids import TaskId
from tests.compute.made_images import (
    MadeImage,
    Registry,
    busybox_entries,
    make_layer,
    serve_registry,
)
from tests.ports.rigs import EngineRig, LocalRig, change

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only]

PASSWORD = "hush-4d1c"
GOOD = RegistryAuth(username="bob", password=PASSWORD)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve_registry() as made:
        image = MadeImage(layers=[make_layer(busybox_entries())])
        for name in ("private", "other"):
            made.add(f"{name}:1", image)
            made.account_by_repository[name] = f"bob:{PASSWORD}"
        yield made


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def write(path: Path, text: str) -> None:
    path.write_text(text)


def auths(registry: str) -> str:
    pair = base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    return json.dumps({"auths": {registry: {"auth": pair}}})


async def test_credentials_are_shown_nowhere() -> None:
    assert repr(GOOD) == "RegistryAuth()"


async def test_dockers_file_is_read(docker_config: Path) -> None:
    assert await auth_for("r.example") is None
    write(docker_config, auths("https://r.example/v2/"))
    assert await auth_for("r.example") == GOOD
    assert await auth_for("q.example") is None
    write(docker_config, auths("https://index.docker.io/v1/"))
    assert await auth_for("docker.io") == GOOD
    write(docker_config, f'{{"auths": "{PASSWORD}')
    assert await auth_for("docker.io") is None


async def test_credential_helpers_are_asked(
    docker_config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    helper = docker_config.parent / "docker-credential-mine"
    helper.write_text(
        '#!/bin/sh\nread server || true\n[ "$1 $server" = "get r.example" ] || exit 1\n'
        f'echo \'{{"ServerURL":"r","Username":"bob","Secret":"{PASSWORD}"}}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker_config.parent), prepend=os.pathsep)
    write(docker_config, '{"credHelpers": {"r.example": "mine", "q.example": "absent"}}')
    assert await auth_for("r.example") == GOOD
    assert await auth_for("q.example") is None
    write(docker_config, '{"credsStore": "mine"}')
    assert await auth_for("r.example") == GOOD
    assert await auth_for("q.example") is None
    assert PASSWORD not in capfd.readouterr().out


async def test_brought_credentials_are_kept_for_the_pull_alone(tmp_path: Path) -> None:
    brought = BroughtAuths(tmp_path / "auth")
    first, second = TaskId("1"), TaskId("2")
    brought.put(first, {"a": GOOD})
    brought.put(second, {"a": GOOD})
    assert BroughtAuths(tmp_path / "auth").get(first, "a") == GOOD
    assert brought.get(first, "b") is None
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "auth").iterdir()}
    assert modes == {0o600}
    brought.keep_only(frozenset({second}))
    assert brought.get(first, "a") is None
    brought.drop(second)
    assert list((tmp_path / "auth").iterdir()) == []


async def pulls_with_credentials(
    rig: LocalRig | EngineRig, registry: Registry, docker_config: Path
) -> None:
    """Wrong ones are told; then those that the task brings; then docker's own."""
    backend, listener = await rig.open()

    async def run(image: str, auth: RegistryAuth | None) -> TaskEnded:
        spec = change(rig.shell("echo ran"), image=image, registry_auth=auth)
        await backend.start([spec])
        ended = await listener.ended(spec.task_id)
        kept = await asyncio.to_thread(_files_with, rig.data_dir, PASSWORD)
        assert kept == []
        return ended

    private, other = (f"{registry.address}/{name}:1" for name in ("private", "other"))
    refused = await run(private, None)
    assert refused.reason is not None
    assert refused.reason.startswith("CannotPullContainerError: ")
    assert (await run(private, RegistryAuth(username="bob", password="no"))).exit_code is None
    assert (await run(private, GOOD)).exit_code == 0
    write(docker_config, auths(registry.address))
    assert (await run(other, None)).exit_code == 0


def _files_with(folder: Path, text: str) -> list[Path]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "images" not in path.parts]
    return [path for path in paths if text.encode() in path.read_bytes()]


@pytest.mark.slow
async def test_direct_runtime_logs_in(
    rig: LocalRig,
    registry: Registry,
    docker_config: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await pulls_with_credentials(rig, registry, docker_config)
    assert PASSWORD not in "".join(capfd.readouterr())


@pytest.mark.slow
async def test_docker_logs_in(
    engine_rig: EngineRig,
    registry: Registry,
    docker_config: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    await pulls_with_credentials(engine_rig, registry, docker_config)
    assert PASSWORD not in "".join(capfd.readouterr())
