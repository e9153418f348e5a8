"""Images made by hand, in every form people bring them, and a registry that serves them
read-only."""

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_layer(entries: dict[str, bytes | str | None]) -> bytes:
    """Make a tar: bytes are files, text is a symbolic link's target, None a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def busybox_entries() -> dict[str, bytes | str | None]:
    entries: dict[str, bytes | str | None] = {"bin/busybox": Path("/bin/busybox").read_bytes()}
    for name in ("sh", "cat", "ls", "echo", "test"):
        entries[f"bin/{name}"] = "busybox"
    return entries


@dataclass
class MadeImage:
    """An image: its layers uncompressed, and what runs in it."""

    layers: list[bytes]
    config: dict[str, object] = field(default_factory=dict)

    @property
    def config_blob(self) -> bytes:
        root = {"type": "layers", "diff_ids": [digest_of(layer) for layer in self.layers]}
        content = {"architecture": "amd64", "os": "linux", "config": self.config, "rootfs": root}
        return json.dumps(content).encode()

    def blobs(self) -> tuple[bytes, dict[str, bytes]]:
        """Give the manifest and all blobs by digest."""
        zipped = [gzip.compress(layer, mtime=0) for layer in self.layers]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest_of(self.config_blob),
                    "size": len(self.config_blob),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": digest_of(data),
                        "size": len(data),
                    }
                    for data in zipped
                ],
            }
        ).encode()
        blobs = {digest_of(data): data for data in (self.config_blob, manifest, *zipped)}
        return manifest, blobs

    def write_oci_layout(self, path: Path, *, name: str | None) -> None:
        manifest, blobs = self.blobs()
        (path / "blobs" / "sha256").mkdir(parents=True)
        for digest, data in blobs.items():
            (path / "blobs" / digest.replace(":", "/")).write_bytes(data)
        annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        entry = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_of(manifest),
            "size": len(manifest),
            "annotations": annotations,
        }
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def write_docker_archive(self, path: Path, *, name: str) -> None:
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
        files = {
            "manifest.json": json.dumps(manifest).encode(),
            "config.json": self.config_blob,
            **dict(zip(names, self.layers, strict=True)),
        }
        path.write_bytes(make_layer(dict(files)))


class Registry:
    """Serves images under `/v2/`; what is denied answers 401 as Docker Hub does."""

    def __init__(self) -> None:
        self.manifest_by_name: dict[str, bytes] = {}
        self.blob_by_digest: dict[str, bytes] = {}
        self.denied: set[str] = set()
        #: Who may pull a repository, as `user:password`; anybody, if it is not named.
        self.account_by_repository: dict[str, str] = {}
        self.request_count_by_path: dict[str, int] = {}
        self.address = ""

    def add(self, name: str, image: MadeImage) -> None:
        """Serve an image as `name` (repository and tag), and by its digest."""
        manifest, blobs = image.blobs()
        self.manifest_by_name[name] = manifest
        self.manifest_by_name[f"{name.rpartition(':')[0]}:{digest_of(manifest)}"] = manifest
        self.blob_by_digest |= blobs

    def answer(self, path: str, authorization: str = "") -> tuple[int, str, bytes]:
        self.request_count_by_path[path] = self.request_count_by_path.get(path, 0) + 1
        account = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if path == "/v2/":
            # Clients learn here that passwords are asked for.
            if self.account_by_repository and not account:
                return _refusal(401, "UNAUTHORIZED", "authentication required")
            return 200, "application/json", b"{}"
        repository, _, rest = path.removeprefix("/v2/").rpartition("/")
        repository, _, kind = repository.rpartition("/")
        wanted = self.account_by_repository.get(repository, account)
        if repository in self.denied or account != wanted:
            return _refusal(401, "UNAUTHORIZED", "authentication required")
        if kind == "manifests" and (data := self.manifest_by_name.get(f"{repository}:{rest}")):
            return 200, "application/vnd.oci.image.manifest.v1+json", data
        if kind == "blobs" and (blob := self.blob_by_digest.get(rest)) is not None:
            return 200, "application/octet-stream", blob
        code = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
        return _refusal(404, code, "manifest unknown")


def _refusal(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    body = {"errors": [{"code": code, "message": message}]}
    return status, "application/json", json.dumps(body).encode()


@contextlib.contextmanager
def serve_registry() -> Iterator[Registry]:
    """Run a registry on a free port of this machine."""
    registry = Registry()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, body = registry.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 401 and registry.account_by_repository:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if "manifest" in kind:
                self.send_header("Docker-Content-Digest", digest_of(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        registry.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield registry
        server.shutdown()
        thread.join()
