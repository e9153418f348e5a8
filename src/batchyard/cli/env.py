"""`batchyard env`: what a shell needs so that every AWS client talks to this server."""

import click

from batchyard.access.keys import CredentialsFileError, load_or_create_development_key
from batchyard.cli.client import server_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings


@click.command()
@data_dir_option
@click.option("--region", help="Region to work in; default the server's setting.")
@click.option("--unset", is_flag=True, help="Print the lines that take it all back.")
def env(*, data_dir: str | None, region: str | None, unset: bool) -> None:
    """Print `export …` lines for a shell:  eval "$(batchyard env)"."""
    names = (
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    )
    if unset:
        click.echo(f"unset {' '.join(names)}")
        return
    settings = read_settings({"data_dir": data_dir, "region": region})
    server = server_of(settings)
    try:
        key = load_or_create_development_key(settings.data_path, settings.account_id)
    except (PermissionError, CredentialsFileError) as error:
        raise click.ClickException(f"{error}; run this with sudo?") from error
    chosen = region or server.region
    for name, value in zip(
        names, (server.endpoint, key.id, key.secret, chosen, chosen), strict=True
    ):
        click.echo(f"export {name}={value}")
    # A session token of another account would be sent along, and refused.
    click.echo("unset AWS_SESSION_TOKEN AWS_PROFILE")
