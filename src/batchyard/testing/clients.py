"""AWS clients of a yard: boto3's where it is installed, else botocore's, which have the same
methods.

Refuses to be led elsewhere by the user's own configuration.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import botocore.config
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
        session.get_component("data_loader").search_paths.append(str(OWN_MODELS))
        try:
            import boto3
        except ImportError:
            return _Plain(session)
        return boto3.Session(botocore_session=session)


class _Plain:
    """botocore's session with the one method of boto3's that is wanted."""

    def __init__(self, session: Any) -> None:
        self.client = session.create_client
