"""Pulling images from registries, through skopeo.

Owns the talk with registries and what its failures are called. Refuses to know tasks. A pull has
two limits (reference/jobs.md section 1.6): the whole of it, and the time in which nothing arrives.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from batchyard.compute.local.images.archives import NotAnImage, open_archive
from batchyard.compute.local.images.image_store import ImageStore, Progress
from batchyard.compute.local.images.references import (
    BadReference,
    Reference,
    is_loopback,
    parse_reference,
)
from batchyard.compute.port import RegistryAuth, Trouble
from batchyard.compute.registry_auth import auth_file, config_path

_PULL_TIMEOUT_S: Final = 7200.0
_INACTIVITY_S: Final = 60.0
_LOOK_S: Final = 10.0
_ERROR_BYTES_MAX: Final = 64 * 1024

_FATAL = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')
_DENIED = ("denied", "unauthorized", "authentication required", "403 (Forbidden)", "401 (Unauth")


class PullFailed(Exception):
    """The image cannot be had; the text says why, in the registry's words."""


class Puller:
    """Brings images from registries into a store. One pull of one name at a time is the caller's
    care."""

    def __init__(
        self,
        store: ImageStore,
        *,
        insecure_registries: Sequence[str] = (),
        pull_timeout_s: float = _PULL_TIMEOUT_S,
        inactivity_s: float = _INACTIVITY_S,
    ) -> None:
        self._store = store
        self._insecure_registries = frozenset(insecure_registries)
        self._pull_timeout_s = pull_timeout_s
        self._inactivity_s = inactivity_s

    async def pull(
        self,
        name: str,
        *,
        auth: RegistryAuth | None = None,
        progress: Progress = lambda _: None,
    ) -> str:
        """Pull an image and store it under its name; return its id. Raises `PullFailed`.

        Without `auth` it is pulled with what docker or podman keep for this user, as skopeo finds
        it.
        """
        try:
            reference = parse_reference(name)
        except BadReference as error:
            raise PullFailed(f"{name}: {error}") from error
        skopeo = shutil.which("skopeo")
        if skopeo is None:
            text = f"{name} is not here, and skopeo, which could pull it, is not installed"
            raise PullFailed(f"{text} (apt-get install skopeo, or import the image)")
        try:
            draft = Path(
                tempfile.mkdtemp(prefix="batchyard-pull-", dir=self._store.make_draft_directory())
            )
        except OSError as error:
            raise PullFailed(f"{name}: {error}") from error
        try:
            progress(f"pulling {reference}")
            with _auth_options(reference, auth, draft) as options:
                await self._copy([skopeo, *options], reference, draft)
            return await asyncio.to_thread(self._store_pulled, reference, draft, progress)
        except (NotAnImage, Trouble) as error:
            raise PullFailed(f"{name}: {error}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)

    def _store_pulled(self, reference: Reference, draft: Path, progress: Progress) -> str:
        with open_archive(draft) as (image,):
            return self._store.add(image, names=[str(reference)], progress=progress)

    async def _copy(self, options: list[str], reference: Reference, draft: Path) -> None:
        registry = reference.registry
        if is_loopback(registry) or registry in self._insecure_registries:
            options.append("--src-tls-verify=false")
        process = await asyncio.create_subprocess_exec(
            *options,
            f"docker://{reference}",
            f"dir:{draft}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(draft),
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(self._pull_timeout_s), asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(draft, process))
                error = await process.stderr.read(_ERROR_BYTES_MAX)
                await process.wait()
                watch.cancel()
        except TimeoutError as late:
            raise PullFailed(f"{reference}: pulling took longer than two hours") from late
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            if process.returncode == -signal.SIGKILL:
                raise PullFailed(f"{reference}: nothing arrived for {self._inactivity_s:.0f} s")
            raise PullFailed(explain_failure(reference, error.decode("utf-8", "replace")))

    async def _watch(self, draft: Path, process: asyncio.subprocess.Process) -> None:
        """Kill the pull when nothing arrived for too long."""
        size, quiet_s = -1, 0.0
        look_s = min(_LOOK_S, self._inactivity_s)
        while True:
            await asyncio.sleep(look_s)
            now = sum(entry.stat().st_size for entry in os.scandir(draft))
            quiet_s = quiet_s + look_s if now == size else 0.0
            size = now
            if quiet_s >= self._inactivity_s:
                process.kill()
                return


@contextlib.contextmanager
def _auth_options(
    reference: Reference, auth: RegistryAuth | None, draft: Path
) -> Iterator[list[str]]:
    """Give skopeo's first options. Credentials are in a file: who may see processes, sees
    arguments."""
    options = ["--insecure-policy", "copy", "--quiet"]
    if auth is None:
        yield options
        return
    with tempfile.NamedTemporaryFile(dir=draft.parent, prefix="batchyard-auth-") as file:
        file.write(auth_file(reference.registry, auth))
        file.flush()
        yield [*options, "--authfile", file.name]


def _environment(draft: Path) -> dict[str, str]:
    """skopeo's environment: ours (proxies, credentials), with large temporary files beside the
    image."""
    environ = os.environ | {"TMPDIR": str(draft.parent)}
    # Older ones do not know docker's own variable.
    if os.environ.get("DOCKER_CONFIG") and config_path().exists():
        environ.setdefault("REGISTRY_AUTH_FILE", str(config_path()))
    return environ


def explain_failure(reference: Reference, said: str) -> str:
    """Say in one short line why a pull failed; begins as Docker's own message where there is
    one."""
    match = _FATAL.search(said)
    lines = said.strip().splitlines()
    text = match.group(1) if match else (lines[-1] if lines else "skopeo failed")
    text = text.replace('\\"', '"').replace("\\n", " ")
    cause = text.rsplit(": ", 2)
    short = ": ".join(cause[-2:]) if len(cause) > 1 else text
    name = reference.familiar_repository
    if any(word in text for word in _DENIED):
        text = "repository does not exist or may require 'docker login'"
        return f"pull access denied for {name}, {text}: {short}"
    if "manifest unknown" in text or "404" in text:
        return f"manifest for {reference} not found: manifest unknown: {short}"
    if "name unknown" in text:
        return f"repository {name} not found: name unknown: {short}"
    return f"{reference}: {text.removeprefix('initializing source ')}"
