"""Calls Secrets Manager and SSM, as any AWS client would. Loaded with the first secret wanted.

Endpoints, credentials and profile come from the server's own environment
(`AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, …), the region from the reference. Decides how a failure is
told, in the words of the ECS agent (reference/jobs.md section 1.6). Refuses to keep values, and to
put them into any text. Throttling, 5xx and broken connections are tried again by botocore.
"""

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

import msgspec
import structlog
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.session import Session

from batchyard.compute.secrets import SecretUnavailable
from batchyard.model.secret_reference import SecretReference, SecretStore, parameter_names_of

#: Of one request; a secret is a few kilobytes.
_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 10.0
_ATTEMPTS_MAX = 4
_CONNECTIONS_MAX = 8

_FROM_SECRETS_MANAGER = "unable to retrieve secret from asm: "
_FROM_PARAMETER_STORE = "unable to retrieve secrets from ssm: "
_NOT_SET_UP = (
    "the server has no credentials for it; give it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or"
    " AWS_PROFILE, and AWS_ENDPOINT_URL_{service} unless AWS itself is meant"
)

_log = structlog.get_logger()


class SecretCalls:
    """The clients in use, by service and region. Any thread may call."""

    def __init__(self) -> None:
        self._session = Session()
        self._lock = Lock()
        self._clients: dict[tuple[str, str], Any] = {}

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def fetch(self, references: Sequence[SecretReference]) -> dict[SecretReference, str]:
        """Fetch members of one secret, or up to 10 parameters of one region. Blocks.

        Raises `SecretUnavailable`.
        """
        is_secret = references[0].store is SecretStore.SECRETS_MANAGER
        prefix = _FROM_SECRETS_MANAGER if is_secret else _FROM_PARAMETER_STORE
        fetch = self._fetch_secret if is_secret else self._fetch_parameters
        try:
            return fetch(references)
        except (NoCredentialsError, PartialCredentialsError):
            text = _NOT_SET_UP.format(service="SECRETS_MANAGER" if is_secret else "SSM")
        except ClientError as error:
            failure = error.response.get("Error", {})
            which = f"{references[0].id}: " if is_secret else ""
            text = f"{which}{failure.get('Code')}: {failure.get('Message', '')}"
        except BotoCoreError as error:
            text = str(error)
        except SecretUnavailable:
            raise
        except Exception as error:
            # The edge of a thread. The text may be anything, so only its kind is told.
            _log.error("secret_fetch_broke", kind=type(error).__name__)
            text = f"unexpected {type(error).__name__}"
        raise SecretUnavailable(prefix + text) from None

    def _fetch_secret(self, references: Sequence[SecretReference]) -> dict[SecretReference, str]:
        first = references[0]
        request = {"SecretId": first.id}
        if first.version_stage is not None:
            request["VersionStage"] = first.version_stage
        if first.version_id is not None:
            request["VersionId"] = first.version_id
        answer = self._client(first).get_secret_value(**request)
        text = answer.get("SecretString")
        if text is None:
            raise SecretUnavailable(
                f"{_FROM_SECRETS_MANAGER}{first.id}: the secret has no SecretString; binary ones"
                " cannot be environment variables"
            )
        return {each: _member_of(text, each) for each in references}

    def _fetch_parameters(
        self, references: Sequence[SecretReference]
    ) -> dict[SecretReference, str]:
        """Ask for the parameters as they are named; then for an ARN's names, where it is not known.

        SSM takes ARNs, but not everything that answers for SSM does.
        """
        client = self._client(references[0])
        found: dict[SecretReference, str] = {}
        asked: set[str] = set()
        for names_of in (_as_given, _first_name, _second_name):
            missing = {names_of(each): each for each in references if each not in found}
            names = [name for name in missing if name not in asked]
            if not names:
                continue
            asked.update(names)
            answer = client.get_parameters(Names=names, WithDecryption=True)
            for parameter in answer["Parameters"]:
                for name in _names_in(parameter):
                    if name in missing:
                        found[missing[name]] = parameter["Value"]
        missing_ids = [each.id for each in references if each not in found]
        if missing_ids:
            raise SecretUnavailable(
                f"{_FROM_PARAMETER_STORE}invalid parameters: {', '.join(missing_ids)}"
            )
        return found

    def _client(self, reference: SecretReference) -> Any:
        """Give the client of a service in a region; making one takes a tenth of a second."""
        key = (reference.store.value, reference.region)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = self._session.create_client(
                    key[0],
                    region_name=key[1],
                    config=Config(
                        connect_timeout=_CONNECT_TIMEOUT_S,
                        read_timeout=_READ_TIMEOUT_S,
                        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS_MAX},
                        max_pool_connections=_CONNECTIONS_MAX,
                    ),
                )
                self._clients[key] = client
            return client


def _as_given(reference: SecretReference) -> str:
    return reference.id


def _first_name(reference: SecretReference) -> str:
    return parameter_names_of(reference)[0]


def _second_name(reference: SecretReference) -> str:
    return parameter_names_of(reference)[-1]


def _names_in(parameter: dict[str, Any]) -> Iterable[str]:
    """List the names under which a parameter may have been asked for."""
    selector = parameter.get("Selector") or ""
    for name in (parameter["Name"], parameter.get("ARN")):
        if name:
            yield name
            yield name + selector


def _member_of(text: str, reference: SecretReference) -> str:
    """Give the wanted part of a secret. What is no string is given as JSON spells it."""
    if reference.json_key is None:
        return text
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        raise SecretUnavailable(
            f"{_FROM_SECRETS_MANAGER}{reference.id}: the secret is no JSON object, so it has no"
            f" key {reference.json_key}"
        ) from None
    member = members.get(reference.json_key)
    if member is None:
        raise SecretUnavailable(
            f"{_FROM_SECRETS_MANAGER}retrieved secret from Secrets Manager did not contain json key"
            f" {reference.json_key}"
        )
    value = bytes(member)
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()
