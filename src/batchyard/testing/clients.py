"""AWS clients of a yard: boto3's where it is installed, else botocore's, which have the same
methods.

Refuses to be led elsewhere by the user's own configuration.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import botocore.config
import botocore.loaders
import botocore.session

from batchyard.access.keys import AccessKey
from batchyard.wire.models import OWN_MODELS

#: Variables that would lead a client elsewhere.
_MISLEADING = "AWS_"


@dataclass(frozen=True)
class Clients:
    """Who a client of the yard is, and where it goes."""

    url: str
    key: AccessKey
    region: str

    def client(self, service: str, **options: Any) -> Any:
        """Make a client; `options` as boto3 has them. `batchyard` is for what goes beyond AWS."""
        options.setdefault("region_name", self.region)
        own = botocore.config.Config(retries={"total_max_attempts": 2}, proxies={})
        config = options.pop("config", None)
        return self._session.client(
            service, endpoint_url=self.url, config=own.merge(config) if config else own, **options
        )

    def variables(self) -> Mapping[str, str]:
        """Give what any AWS client needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key.id,
            "AWS_SECRET_ACCESS_KEY": self.key.secret,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def environ(self) -> dict[str, str]:
        """Give the whole environment of a program that is to use the yard."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_MISLEADING)}
        return {**kept, **self.variables()}

    @contextmanager
    def in_environ(self) -> Iterator[None]:
        """Let this process's own environment lead AWS clients here, for as long as it lasts."""
        before = dict(os.environ)
        boto3 = _boto3()
        default = None if boto3 is None else boto3.DEFAULT_SESSION
        os.environ.clear()
        os.environ.update(self.environ())
        if boto3 is not None:
            boto3.DEFAULT_SESSION = None  # it would keep the keys that it found first
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            if boto3 is not None:
                boto3.DEFAULT_SESSION = default

    @cached_property
    def _session(self) -> Any:
        session = botocore.session.Session(
            session_vars={
                "profile": (None, [], None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        session.set_credentials(self.key.id, self.key.secret)
        session.register_component("data_loader", _loader())
        boto3 = _boto3()
        return _Plain(session) if boto3 is None else boto3.Session(botocore_session=session)


@cache
def _loader() -> Any:
    """Give the models of all services: read once, for all yards of the process."""
    loader = botocore.loaders.create_loader()
    loader.search_paths.append(str(OWN_MODELS))
    return loader


def _boto3() -> Any:
    """Give boto3, which a test kit cannot demand; None: it is not installed."""
    try:
        import boto3
    except ImportError:
        return None
    return boto3


class _Plain:
    """botocore's session with the one method of boto3's that is wanted."""

    def __init__(self, session: Any) -> None:
        self.client = session.create_client
