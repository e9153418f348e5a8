"""Images that tasks need: looked for at the engine, else pulled by it.

Decides with which credentials: those that a task brings, else those that docker keeps on this
machine. Refuses to know tasks. An image that is here is used as it is, as with the direct runtime.
"""

from batchyard.compute.docker.engine_api import EngineApi, PullFailed
from batchyard.compute.local.images.pull import explain_failure
from batchyard.compute.local.images.references import BadReference, parse_reference
from batchyard.compute.port import RegistryAuth
from batchyard.compute.registry_auth import auth_for


class Images:
    """The engine's images."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api

    async def is_here(self, name: str) -> bool:
        """Tell whether the engine has an image. Raises `Trouble`."""
        try:
            full_name = str(parse_reference(name))
        except BadReference:
            return False
        # As it was given first: podman does not look for its own builds under docker.io.
        return await self._api.has_image(name) or await self._api.has_image(full_name)

    async def pull(self, name: str, auth: RegistryAuth | None) -> None:
        """Have the engine pull an image. Raises `PullFailed`, and `Trouble`."""
        try:
            reference = parse_reference(name)
        except BadReference as error:
            raise PullFailed(f"{name}: {error}") from error
        try:
            await self._api.pull(str(reference), auth or await auth_for(reference.registry))
        except PullFailed as error:
            raise PullFailed(explain_failure(reference, str(error))) from error
