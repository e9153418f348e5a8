"""Fetches the secrets of containers from Secrets Manager and SSM, once, before a task starts.

Owns who waits how long for which call; `secret_calls` makes them. Refuses to know jobs, and to keep
a value longer than the call that asked for it.

Rules:
- A value appears in what `read` returns and nowhere else: no log line, no exception's text, no
  exception's cause.
- botocore blocks, so it runs in a pool of its own of `_THREADS_MAX` threads; and it is large, so it
  is loaded with the first secret that is wanted.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

from batchyard.model.limits import CONTAINER_REASON_LENGTH_MAX
from batchyard.model.secret_reference import SecretReference, SecretStore

if TYPE_CHECKING:
    from batchyard.compute.secret_calls import SecretCalls

_THREADS_MAX = 8
#: Of a whole `read`, waiting for a thread included.
_TIMEOUT_S = 120.0
#: GetParameters takes no more names at once.
_NAMES_PER_CALL_MAX = 10

_PREFIX = "ResourceInitializationError: unable to pull secrets or registry auth: "


class SecretUnavailable(Exception):
    """A secret cannot be had. `reason` is fit for `container.reason`; it never holds a value."""

    def __init__(self, text: str) -> None:
        reason = _PREFIX + " ".join(text.split())
        self.reason = reason[:CONTAINER_REASON_LENGTH_MAX]
        super().__init__(self.reason)


class SecretReader:
    """Reads secrets. Holds threads and connections until `close`."""

    def __init__(self, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="secrets")
        self._lock = Lock()
        self._calls: SecretCalls | None = None

    async def read(self, wanted: Collection[SecretReference]) -> dict[SecretReference, str]:
        """Fetch every secret, each distinct one once, and give the value of each reference.

        Raises `SecretUnavailable` with the first failure.
        """
        if not wanted:
            return {}
        loop = asyncio.get_running_loop()
        fetches = [
            loop.run_in_executor(self._pool, self._fetch, references)
            for references in [*_secret_groups(wanted), *_parameter_groups(wanted)]
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await asyncio.gather(*fetches)
        except TimeoutError:
            raise SecretUnavailable(f"no answer within {self._timeout_s:g} s") from None
        return {reference: value for answer in answers for reference, value in answer.items()}

    def close(self) -> None:
        """Let go of threads and connections; what is under way ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._calls is not None:
                self._calls.close()

    def _fetch(self, references: Sequence[SecretReference]) -> dict[SecretReference, str]:
        """Make one call, in a thread of the pool."""
        with self._lock:
            if self._calls is None:
                from batchyard.compute.secret_calls import SecretCalls

                self._calls = SecretCalls()
        return self._calls.fetch(references)


def _secret_groups(wanted: Iterable[SecretReference]) -> Iterable[Sequence[SecretReference]]:
    """Group references to members of the same version of a secret: one call gives them all."""
    groups: dict[tuple[str, str | None, str | None], dict[SecretReference, None]] = {}
    for each in wanted:
        if each.store is SecretStore.SECRETS_MANAGER:
            groups.setdefault((each.id, each.version_stage, each.version_id), {})[each] = None
    return [list(group) for group in groups.values()]


def _parameter_groups(wanted: Iterable[SecretReference]) -> Iterable[Sequence[SecretReference]]:
    """Group the parameters of a region, as many as one call takes."""
    groups: dict[str, dict[SecretReference, None]] = {}
    for each in wanted:
        if each.store is SecretStore.PARAMETER_STORE:
            groups.setdefault(each.region, {})[each] = None
    for group in groups.values():
        references = list(group)
        for start in range(0, len(references), _NAMES_PER_CALL_MAX):
            yield references[start : start + _NAMES_PER_CALL_MAX]
