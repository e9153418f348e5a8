"""`batchyard instance`: what an operator does with instances."""

import time
from collections.abc import Callable
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.model.limits import SPOT_NOTICE_SECONDS

#: Pause between two looks at whether the engine has answered.
_POLL_S = 0.05
#: How long an engine may take: it answers in its next turn.
_ANSWER_S_MAX = 30.0


@click.group()
def instance() -> None:
    """Bring instances to UNMANAGED compute environments, take them back, and reclaim others."""


@instance.command()
@data_dir_option
@click.option(
    "--environment",
    "-e",
    required=True,
    help="The compute environment, by name or ARN, or by the ARN of its ECS cluster.",
)
@click.option("--type", "instance_type", help="As large as this EC2 instance type.")
@click.option("--vcpus", type=int, help="vCPUs of each instance, instead of a type.")
@click.option("--memory", "memory_mib", type=int, help="MiB of each instance.")
@click.option("--gpus", type=int, help="GPUs of each instance.")
@click.option("--count", type=int, default=1, show_default=True, help="How many.")
@click.option("--host", help="On which machine; any with room if not given.")
def register(
    *,
    data_dir: str | None,
    environment: str,
    instance_type: str | None,
    host: str | None,
    **numbers: int | None,
) -> None:
    """Make slices of this machine instances of an UNMANAGED environment: all of them, or none.

    They stay, also through restarts, until `batchyard instance deregister` takes them back.
    """
    asked = {
        "computeEnvironment": environment,
        "instanceType": instance_type,
        "host": host,
        "vcpus": numbers["vcpus"],
        "memoryMib": numbers["memory_mib"],
        "gpus": numbers["gpus"],
        "count": numbers["count"],
    }
    request = {name: value for name, value in asked.items() if value is not None}
    for each in settle(data_dir, lambda client: client.register_instances(**request)):
        click.echo(each)


@instance.command()
@click.argument("instance_id", metavar="ID")
@data_dir_option
@click.option("--force", is_flag=True, help="Stop what runs on it, now.")
def deregister(*, instance_id: str, data_dir: str | None, force: bool) -> None:
    """Take a registered instance back: nothing new starts on it, and it ends with its last job."""
    settle(data_dir, lambda client: client.deregister_instance(instanceId=instance_id, force=force))


@instance.command()
@click.argument("instance_id", metavar="ID")
@data_dir_option
@click.option(
    "--notice",
    type=int,
    default=SPOT_NOTICE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="From now until what still runs on it is stopped.",
)
@click.option("--force", is_flag=True, help="Also if it is not Spot capacity.")
def interrupt(*, instance_id: str, data_dir: str | None, notice: int, force: bool) -> None:
    """Reclaim a Spot instance, as EC2 does: nothing new starts on it, and jobs see the notice.

    What still runs on it after the notice is stopped, with the status reason that AWS gives; jobs
    are tried again by their retry rules.
    """
    settle(
        data_dir,
        lambda client: client.interrupt_instance(
            instanceId=instance_id, noticeSeconds=notice, force=force
        ),
    )


def settle(data_dir: str | None, ask: Callable[[Any], dict[str, Any]]) -> list[str]:
    """Ask, wait for the engine's answer, and give the instances that it names."""
    client = client_of(read_settings({"data_dir": data_dir}), "batchyard")
    try:
        wish_id: str = ask(client)["wishId"]
    except client.exceptions.ClientException as error:
        raise click.ClickException(error.response["Error"]["Message"]) from error
    deadline = time.monotonic() + _ANSWER_S_MAX
    while not (answer := client.get_instance_wish(wishId=wish_id))["isSettled"]:
        if time.monotonic() > deadline:
            raise click.ClickException(
                "the wish is kept, but no engine has answered it yet: is a server in charge?"
            )
        time.sleep(_POLL_S)
    if "refusal" in answer:
        raise click.ClickException(answer["refusal"])
    ids: list[str] = answer["instanceIds"]
    return ids
