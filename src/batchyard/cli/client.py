"""Our own commands as clients of the AWS surface: signed calls to the server of a data folder."""

from collections.abc import Iterator
from typing import Any

import click

from batchyard.access.keys import CredentialsFileError, load_or_create_development_key
from batchyard.cli.program import program_name
from batchyard.cli.server_file import RunningServer, find_server
from batchyard.cli.settings import Settings
from batchyard.wire.models import OWN_MODELS

#: Looking ahead in a large yard takes longer than what botocore waits for.
_READ_TIMEOUT_S = 180


def server_of(settings: Settings) -> RunningServer:
    """Find the running server, or say how to start one."""
    try:
        server = find_server(settings.data_path)
    except PermissionError as error:
        raise click.ClickException(
            f"{settings.data_path} belongs to another user: run this with sudo"
        ) from error
    if server is None:
        raise click.ClickException(
            f"no server is up for {settings.data_path}; `{program_name()} up` starts one"
        )
    return server


def client_of(settings: Settings, service: str) -> Any:
    """Build a botocore client of the running server, signing with the development key.

    `service` as botocore spells it, or `batchyard` for what goes beyond AWS.
    """
    # Imported here: it takes longer than everything else that `--help` needs.
    import botocore.config
    import botocore.session

    server = server_of(settings)
    try:
        key = load_or_create_development_key(settings.data_path, settings.account_id)
    except (PermissionError, CredentialsFileError) as error:
        raise click.ClickException(f"{error}; run this with sudo?") from error
    session = botocore.session.get_session()
    session.get_component("data_loader").search_paths.append(str(OWN_MODELS))
    return session.create_client(
        service,
        region_name=server.region,
        endpoint_url=server.endpoint,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=botocore.config.Config(
            retries={"total_max_attempts": 2}, proxies={}, read_timeout=_READ_TIMEOUT_S
        ),
    )


def pages(client: Any, operation: str, key: str, **request: Any) -> Iterator[dict[str, Any]]:
    """Yield every item of a paginated answer."""
    for page in client.get_paginator(operation).paginate(**request):
        yield from page[key]
