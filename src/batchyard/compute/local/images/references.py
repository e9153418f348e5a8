"""Names of images, as Docker reads them: `busybox` is `docker.io/library/busybox:latest`.

Pure. Decides the one spelling under which an image is stored and looked up. Refuses to know whether
it exists. Source: distribution's reference grammar (`reference/regexp.go` of
github.com/distribution).
"""

import re
from dataclasses import dataclass

_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DEFAULT_REGISTRY = "docker.io"
_LENGTH_MAX = 512


class BadReference(Exception):
    """The text names no image; the exception's text is Docker's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image's full name. `tag` is None exactly when `digest` is set: a digest says it all."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        suffix = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.repository}{suffix}"

    @property
    def familiar_repository(self) -> str:
        """The repository as Docker's messages spell it."""
        if self.registry == _DEFAULT_REGISTRY:
            return self.repository.removeprefix("library/")
        return f"{self.registry}/{self.repository}"


def parse_reference(text: str) -> Reference:
    """Read an image's name with Docker's defaults filled in. Raises `BadReference`."""
    rest, has_digest, digest = text.partition("@")
    registry, _, path = rest.partition("/")
    if not path or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, path = _DEFAULT_REGISTRY, rest
    path, has_tag, tag = path.partition(":")
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = _DEFAULT_REGISTRY
    if registry == _DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    if path != path.lower():
        raise BadReference(f"invalid reference format: repository name ({path}) must be lowercase")
    is_good = (
        len(text) <= _LENGTH_MAX
        and _DOMAIN.fullmatch(registry)
        and _PATH.fullmatch(path)
        and (not has_tag or _TAG.fullmatch(tag))
        and (not has_digest or _DIGEST.fullmatch(digest))
    )
    if not is_good:
        raise BadReference("invalid reference format")
    if has_digest:
        return Reference(registry=registry, repository=path, tag=None, digest=digest)
    return Reference(registry=registry, repository=path, tag=tag or "latest", digest=None)


def is_loopback(registry: str) -> bool:
    """Tell whether a registry is on this machine; Docker then speaks plain HTTP to it if need
    be."""
    host = registry.rsplit(":", 1)[0] if not registry.endswith("]") else registry
    return host in ("localhost", "[::1]") or host.startswith("127.")
