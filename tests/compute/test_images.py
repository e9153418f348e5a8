"""The image store: every form of image, what is refused, and pulling from a registry."""

import asyncio
import contextlib
import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchyard.compute.local.images.archives import NotAnImage
from batchyard.compute.local.images.busybox import make_busybox_image
from batchyard.compute.local.images.image_store import ImageInUse, ImageStore
from batchyard.compute.local.images.pull import Puller, PullFailed, explain_failure
from batchyard.compute.local.images.references import BadReference, parse_reference
from tests.compute.made_images import (
    MadeImage,
    Registry,
    busybox_entries,
    digest_of,
    make_layer,
    serve_registry,
)
from tests.ports.rigs import Behaviour, LocalRig, change

pytestmark = [pytest.mark.ours_only]

FULL_NAME = "docker.io/library/tool:1"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    if os.geteuid() != 0:
        pytest.skip("unpacking layers needs root")
    return ImageStore(tmp_path / "data")


@pytest.fixture
def image() -> MadeImage:
    lower = make_layer({"etc": None, "etc/keep": b"1", "etc/drop": b"2", "opt/old": b"3"})
    upper = make_layer(
        {"etc/.wh.drop": b"", "opt/.wh..wh..opq": b"", "opt/new": b"4", "etc/link": "/etc/keep"}
    )
    return MadeImage(layers=[lower, upper], config={"Cmd": ["sh"], "Env": ["A=1"]})


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve_registry() as served:
        yield served


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c"),
        ("localhost/app", "localhost/app:latest"),
        ("registry:5000/app:2", "registry:5000/app:2"),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:latest",
        ),
        ("a:1@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    "text", ["", "Busybox", "a:", "a@sha256:12", "a//b", "a b", "-a", "a:b:c", "../x", "h:5000/"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadReference, match="invalid reference format"):
        parse_reference(text)


@pytest.mark.parametrize("form", ["docker", "docker.gz", "oci", "oci.tar", "dir"])
def test_every_form_gives_the_same_image(
    store: ImageStore, image: MadeImage, tmp_path: Path, form: str
) -> None:
    path = tmp_path / form
    if form.startswith("docker"):
        image.write_docker_archive(path, name="tool:1")
        if form.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    elif form == "dir":
        manifest, blobs = image.blobs()
        path.mkdir()
        (path / "manifest.json").write_bytes(manifest)
        for digest, data in blobs.items():
            (path / digest.removeprefix("sha256:")).write_bytes(data)
    else:
        image.write_oci_layout(tmp_path / "layout", name="tool:1")
        path = tmp_path / "layout"
        if form.endswith(".tar"):
            path = tmp_path / form
            with tarfile.open(path, "w") as archive:
                archive.add(tmp_path / "layout", ".")
    said: list[str] = []
    (info,) = store.import_archive(path, name="tool:1", progress=said.append)
    assert FULL_NAME in info.names
    assert info.layer_count == 2
    assert store.resolve("tool:1") == info.image_id
    assert said == ["layer 1 of 2", "layer 2 of 2"]
    record = json.loads((store._path / "records" / f"{info.image_id}.json").read_bytes())
    lower, upper = [store._path / "layers" / layer for layer in record["layers"]]
    assert (lower / "etc" / "drop").read_text() == "2"
    whiteout = (upper / "etc" / "drop").lstat()
    assert stat.S_ISCHR(whiteout.st_mode)
    assert whiteout.st_rdev == 0
    assert os.getxattr(upper / "opt", "trusted.overlay.opaque") == b"y"
    assert os.readlink(upper / "etc" / "link") == "/etc/keep"
    assert record["config"] == {"Cmd": ["sh"], "Env": ["A=1"]}


def test_image_is_found_by_its_digest(store: ImageStore, image: MadeImage, tmp_path: Path) -> None:
    image.write_oci_layout(tmp_path / "layout", name=None)
    (info,) = store.import_archive(tmp_path / "layout", name="tool:1")
    manifest, _ = image.blobs()
    assert store.resolve(f"tool@{digest_of(manifest)}") == info.image_id


def test_plain_rootfs_needs_a_name(store: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(make_layer(busybox_entries()))
    with pytest.raises(NotAnImage, match="the image has no name"):
        store.import_archive(path)
    (info,) = store.import_archive(path, name="mine")
    assert info.names == ("docker.io/library/mine:latest",)


def test_what_is_no_image_is_refused(store: ImageStore, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image" * 100)
    empty = tmp_path / "empty.tar"
    empty.write_bytes(make_layer({"readme": b"x"}))
    (tmp_path / "folder").mkdir()
    for path in (text, empty, tmp_path / "folder", tmp_path / "missing"):
        with pytest.raises(NotAnImage):
            store.import_archive(path, name="x")
    assert store.list_images() == []


@pytest.mark.parametrize("damage", ["layer", "cut", "config"])
def test_damaged_archive_is_refused(
    store: ImageStore, image: MadeImage, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "layout"
    image.write_oci_layout(path, name="tool:1")
    blobs = sorted((path / "blobs" / "sha256").iterdir(), key=lambda blob: blob.name)
    zipped = [blob for blob in blobs if blob.read_bytes()[:2] == b"\x1f\x8b"]
    if damage == "layer":
        other = make_layer({"etc/evil": b"x"})
        zipped[0].write_bytes(gzip.compress(other))
    elif damage == "cut":
        zipped[0].write_bytes(zipped[0].read_bytes()[:-20])
    else:
        config = path / "blobs" / digest_of(image.config_blob).replace(":", "/")
        config.write_bytes(config.read_bytes().replace(b"linux", b"linuX"))
    with pytest.raises(NotAnImage, match="damaged"):
        store.import_archive(path)
    assert store.list_images() == []
    assert list(store._path.glob("draft/*")) == []


def test_hostile_layer_stays_inside(store: ImageStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("etc")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        file = tarfile.TarInfo("etc/victim")
        file.size = 4
        archive.addfile(file, io.BytesIO(b"evil"))
        hard = tarfile.TarInfo("usr")
        hard.type, hard.linkname = tarfile.LNKTYPE, str(victim)
        archive.addfile(hard)
    path = tmp_path / "evil.tar"
    path.write_bytes(buffer.getvalue())
    # The links lead nowhere inside, so it is refused or unpacked harmlessly; never written outside.
    with contextlib.suppress(NotAnImage):
        store.import_archive(path, name="evil")
    assert victim.read_text() == "safe"
    assert victim.stat().st_nlink == 1


def test_names_that_climb_are_refused(store: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "climb.tar"
    path.write_bytes(make_layer({"etc": None, "etc/../../x": b"1"}))
    with pytest.raises(NotAnImage, match="leads out of it"):
        store.import_archive(path, name="x")


def test_removal_deletes_layers_nobody_needs(
    store: ImageStore, image: MadeImage, tmp_path: Path
) -> None:
    image.write_docker_archive(tmp_path / "a.tar", name="tool:1")
    store.import_archive(tmp_path / "a.tar")
    other = MadeImage(layers=image.layers[:1])
    other.write_docker_archive(tmp_path / "b.tar", name="other:1")
    store.import_archive(tmp_path / "b.tar")
    store.remove("tool:1")
    assert [info.names for info in store.list_images()] == [("docker.io/library/other:1",)]
    assert len([p for p in (store._path / "layers").iterdir() if p.is_dir()]) == 1
    with pytest.raises(KeyError):
        store.remove("tool:1")


def test_second_name_keeps_the_image(store: ImageStore, image: MadeImage, tmp_path: Path) -> None:
    image.write_docker_archive(tmp_path / "a.tar", name="tool:1")
    store.import_archive(tmp_path / "a.tar")
    store.import_archive(tmp_path / "a.tar", name="tool:2")
    store.remove("tool:1")
    assert store.resolve("tool:1") is None
    assert store.resolve("tool:2") is not None


def test_store_seen_by_another_process_is_read_again(store: ImageStore, tmp_path: Path) -> None:
    reader = ImageStore(tmp_path / "data")
    assert reader.resolve("busybox") is None
    make_busybox_image(store)
    assert reader.resolve("busybox") == store.resolve("busybox") is not None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'time=x level=fatal msg="initializing source docker://h/a:1: reading manifest 1 in h/a:'
            ' manifest unknown: manifest unknown"',
            "manifest for h.io/a:1 not found: manifest unknown: manifest unknown: manifest unknown",
        ),
        (
            'level=fatal msg="initializing source docker://h/a:1: Requesting bearer token: invalid'
            ' status code from registry 403 (Forbidden)"',
            "pull access denied for h.io/a, repository does not exist or may require"
            " 'docker login': Requesting bearer token: invalid status code from registry 403"
            " (Forbidden)",
        ),
        (
            'level=fatal msg="pinging container registry h: Get \\"https://h/v2/\\": dial tcp:'
            ' no host"',
            'h.io/a:1: pinging container registry h: Get "https://h/v2/": dial tcp: no host',
        ),
        ("", "h.io/a:1: skopeo failed"),
    ],
)
def test_pull_failures_are_explained_in_the_registrys_words(said: str, shown: str) -> None:
    assert explain_failure(parse_reference("h.io/a:1"), said) == shown


@pytest.mark.asyncio
async def test_pull_from_a_registry(
    store: ImageStore, image: MadeImage, registry: Registry
) -> None:
    registry.add("team/tool:1", image)
    name = f"{registry.address}/team/tool:1"
    image_id = await Puller(store).pull(name)
    assert store.resolve(name) == image_id
    manifest, _ = image.blobs()
    assert store.resolve(f"{registry.address}/team/tool@{digest_of(manifest)}") == image_id


@pytest.mark.asyncio
async def test_pull_failures(store: ImageStore, registry: Registry) -> None:
    registry.denied.add("secret")
    puller = Puller(store)
    with pytest.raises(PullFailed, match="manifest unknown"):
        await puller.pull(f"{registry.address}/none:1")
    with pytest.raises(PullFailed, match=r"pull access denied for .*/secret, repository does not"):
        await puller.pull(f"{registry.address}/secret:1")
    with pytest.raises(PullFailed, match="invalid reference format"):
        await puller.pull("NOT A NAME")
    with pytest.raises(PullFailed, match="connection refused"):
        await puller.pull("127.0.0.1:1/a")


@pytest.mark.asyncio
async def test_damaged_blob_in_a_registry(
    store: ImageStore, image: MadeImage, registry: Registry
) -> None:
    registry.add("tool:1", image)
    for digest, data in registry.blob_by_digest.items():
        if data[:2] == b"\x1f\x8b":
            registry.blob_by_digest[digest] = data[:-1] + b"!"
    with pytest.raises(PullFailed):
        await Puller(store).pull(f"{registry.address}/tool:1")
    assert store.list_images() == []


@pytest.mark.asyncio
async def test_missing_image_is_pulled_once_for_all_tasks(
    rig: LocalRig, registry: Registry
) -> None:
    config: dict[str, object] = {
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["echo image"],
        "Env": ["GREETING=hello"],
        "WorkingDir": "/srv/deep",
        "User": "7:8",
    }
    registry.add("app:1", MadeImage(layers=[make_layer(busybox_entries())], config=config))
    backend, listener = await rig.open()
    name = f"{registry.address}/app:1"
    base = rig.task(Behaviour())
    tasks = [
        replace(
            change(base, image=name, command=command),
            task_id=rig.next_task_id(),
        )
        for command in (None, ("echo $GREETING; pwd",), None)
    ]
    local = rig.task(Behaviour(lines=("not held up",)))
    await backend.start([*tasks, local])
    for task in tasks:
        assert (await listener.ended(task.task_id)).exit_code == 0
    assert rig.sink.texts(tasks[0].task_id) == ["image"]
    assert rig.sink.texts(tasks[1].task_id) == ["hello", "/srv/deep"]
    assert registry.request_count_by_path["/v2/app/manifests/1"] == 1
    await listener.ended(local.task_id)


@pytest.mark.asyncio
async def test_failed_pull_ends_the_task(rig: LocalRig, registry: Registry) -> None:
    backend, listener = await rig.open()
    task = change(rig.task(Behaviour()), image=f"{registry.address}/none:1")
    await backend.start([task])
    ended = await listener.ended(task.task_id)
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith("CannotPullContainerError: manifest for ")
    assert "manifest unknown" in ended.reason
    assert len(ended.reason) <= 255


@pytest.mark.asyncio
async def test_stop_while_pulling_and_adoption_of_waiting_tasks(
    rig: LocalRig, registry: Registry
) -> None:
    """The registry answers only when allowed to, so the tasks wait; a new server goes on
    waiting."""
    allowed = asyncio.Event()
    loop = asyncio.get_running_loop()
    answer = registry.answer

    def slow_answer(path: str, authorization: str = "") -> tuple[int, str, bytes]:
        asyncio.run_coroutine_threadsafe(allowed.wait(), loop).result()
        return answer(path, authorization)

    registry.answer = slow_answer  # type: ignore[method-assign]
    registry.add("app:1", MadeImage(layers=[make_layer(busybox_entries())]))
    backend, listener = await rig.open()
    name = f"{registry.address}/app:1"
    stopped, kept = (change(rig.shell("echo ran"), image=name) for _ in range(2))
    await backend.start([stopped, kept])
    await backend.stop(stopped.task_id, grace_ms=60_000)
    ended = await listener.ended(stopped.task_id)
    assert (ended.exit_code, ended.reason) == (None, None)
    backend, listener = await rig.open()
    assert kept.task_id in await backend.list_tasks()
    allowed.set()
    assert (await listener.ended(kept.task_id)).exit_code == 0
    assert rig.sink.texts(kept.task_id) == ["ran"]
    assert rig.sink.texts(stopped.task_id) == []


@pytest.mark.asyncio
async def test_image_in_use_is_not_removed(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    store = ImageStore(rig.data_dir)
    task = rig.task(Behaviour(is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    with pytest.raises(ImageInUse, match="a task uses the image busybox"):
        await asyncio.to_thread(store.remove, "busybox")
    await backend.stop(task.task_id, grace_ms=0)
    await listener.ended(task.task_id)
    await asyncio.to_thread(store.remove, "busybox")
    assert store.list_images() == []


@pytest.mark.parametrize("diff_id", ["sha256:../../../../../etc/x", "../index", "sha256:ab", "", 7])
def test_a_layer_is_named_by_a_digest_and_nothing_else(tmp_path: Path, diff_id: object) -> None:
    made = MadeImage([make_layer(busybox_entries())])
    config = json.loads(made.config_blob)
    config["rootfs"]["diff_ids"] = [diff_id]
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "layer.tar").write_bytes(made.layers[0])
    manifest = [{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": ["one:1"]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotAnImage, match="no digest of a layer"):
        ImageStore(tmp_path / "data").import_archive(folder)


def test_a_layer_that_begins_like_another_is_refused(tmp_path: Path) -> None:
    """A short name has 64 bits: whoever makes both layers can make two of one short name."""
    store = ImageStore(tmp_path / "data")
    made = MadeImage([make_layer({"a": b"1"})])
    archive = tmp_path / "image.tar"
    made.write_docker_archive(archive, name="one:1")
    digits = digest_of(made.layers[0]).removeprefix("sha256:")
    marker = tmp_path / "data" / "images" / "layers" / f"{digits[:16]}.json"
    store.make_draft_directory()
    other = digits[:16] + "0" * 48
    marker.write_text(json.dumps({"diff_id": other, "size_bytes": 1}))
    with pytest.raises(NotAnImage, match="short name of another"):
        store.import_archive(archive)


@pytest.mark.parametrize("way", ["absolute", "link"])
def test_an_image_in_a_folder_reads_nothing_outside(tmp_path: Path, way: str) -> None:
    made = MadeImage([make_layer(busybox_entries())])
    folder = tmp_path / "image"
    folder.mkdir()
    (tmp_path / "secret.tar").write_bytes(made.layers[0])
    (folder / "config.json").write_bytes(made.config_blob)
    (folder / "layer.tar").symlink_to(tmp_path / "secret.tar")
    name = "layer.tar" if way == "link" else str(tmp_path / "secret.tar")
    manifest = [{"Config": "config.json", "Layers": [name], "RepoTags": ["one:1"]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotAnImage, match="is missing"):
        ImageStore(tmp_path / "data").import_archive(folder)
