"""The `batchyard` command.

Each subcommand lives in a module of its own and is imported when used.
"""

import importlib
from collections.abc import Mapping

import click

#: Where each subcommand is: module and attribute. Imported only when asked for, so that all start
#: fast.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("batchyard.cli.up", "up"),
    "down": ("batchyard.cli.up", "down"),
    "env": ("batchyard.cli.env", "env"),
    "status": ("batchyard.cli.show", "status"),
    "jobs": ("batchyard.cli.show", "jobs"),
    "explain": ("batchyard.cli.explain", "explain"),
    "forecast": ("batchyard.cli.forecast", "forecast"),
    "what-if": ("batchyard.cli.what_if", "what_if"),
    "job": ("batchyard.cli.job", "job"),
    "instances": ("batchyard.cli.instances", "instances"),
    "instance": ("batchyard.cli.instance", "instance"),
    "logs": ("batchyard.cli.logs", "logs"),
    "image": ("batchyard.cli.images", "image"),
    "replay": ("batchyard.cli.replay", "replay"),
    "doctor": ("batchyard.cli.doctor", "doctor"),
    "demo": ("batchyard.cli.demo", "demo"),
    "simulate": ("batchyard.cli.simulate", "simulate_command"),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), cmd_name
        return command


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batchyard")
def main() -> None:
    """AWS Batch on machines you own.

    `batchyard up` starts the server; `eval "$(batchyard env)"` points every AWS client at it.
    """


if __name__ == "__main__":
    main()
