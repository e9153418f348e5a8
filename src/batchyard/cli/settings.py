"""Every setting: its unit, default, range, and one sentence. Read once, from a file and variables.

Decides what can be set and what is refused. Order, later wins: defaults, the TOML file
(`--config` or BATCHYARD_CONFIG), BATCHYARD_… variables, the command line.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import msgspec
from msgspec import Meta

PREFIX = "BATCHYARD_"

#: Where a server keeps everything, unless told otherwise. Containers need root, so does this
#: folder.
DATA_DIR_DEFAULT = "/var/lib/batchyard"


#: AWS Batch keeps names that start with AWS_BATCH to itself.
VariableName = Annotated[str, Meta(pattern=r"^(?!AWS_BATCH)[^=\x00]+$")]


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An access key that the server accepts beside its development key."""

    access_key_id: Annotated[str, Meta(min_length=16, max_length=128)]
    secret_access_key: Annotated[str, Meta(min_length=16)]
    account_id: Annotated[str, Meta(pattern=r"^[0-9]{12}$")]
    user_name: str = "operator"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may decide about a server."""

    #: Address to listen on. Anything but loopback is reachable by others, who still need a key.
    host: str = "127.0.0.1"
    #: TCP port, 0 for any free one.
    port: Annotated[int, Meta(ge=0, le=65535)] = 7070
    #: Folder for the database, images, running tasks and the development key.
    data_dir: str = DATA_DIR_DEFAULT
    #: Database URL, `sqlite:///…` or `postgresql://…`; a SQLite file in the data folder if unset.
    db: str | None = None
    #: False trades the last few milliseconds before a power cut for speed (SQLite only).
    is_synchronous_full: bool = True
    #: Account of the development key, 12 digits.
    account_id: Annotated[str, Meta(pattern=r"^[0-9]{12}$")] = "000000000000"
    #: Region that `batchyard env` prints; requests may name any.
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$")] = "us-east-1"
    #: What runs containers: `crun` or `runc` directly, as root; `docker` or `podman` through their
    #: service; `auto` takes the first of these that works.
    runtime: Literal["auto", "crun", "runc", "docker", "podman"] = "auto"
    #: Socket of Docker's or Podman's service; its usual places, DOCKER_HOST or CONTAINER_HOST if
    #: unset.
    engine_socket: str | None = None
    #: vCPUs that jobs may use; all of the machine's if unset, and more only with `cpu_overcommit`.
    machine_vcpus: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    #: MiB that jobs may use; the machine's less a reserve if unset, and more only with
    #: `memory_overcommit`.
    machine_memory_mib: Annotated[int, Meta(gt=0)] | None = None
    #: How many times the machine's vCPUs may be given away; jobs then share them.
    cpu_overcommit: Annotated[float, Meta(ge=1, le=100_000)] = 1.0
    #: How many times the machine's memory may be given away; the kernel ends containers if it runs
    #: out.
    memory_overcommit: Annotated[float, Meta(ge=1, le=100_000)] = 1.0
    #: Folders of this machine that jobs may mount (`host.sourcePath` at or below one of them).
    host_paths: tuple[str, ...] = ()
    #: Folders of this machine that stand for AWS's file systems, as `ID=FOLDER`: by the id of an
    #: EFS file system or access point, or the ARN of one of S3 Files. Jobs may mount them.
    file_systems: dict[str, str] = {}
    #: Folders of this machine that stand for prefixes of S3 in training jobs (service jobs), as
    #: `s3://BUCKET/PREFIX=FOLDER`: their data, checkpoints and results. Jobs may mount them.
    training_folders: dict[Annotated[str, Meta(pattern=r"^s3://[^/]+")], str] = {}
    #: Devices of this machine that jobs may have (`linuxParameters.devices`), or folders of them.
    devices: tuple[str, ...] = ()
    #: Let jobs be privileged, and see the processes of this machine: they can then do anything.
    is_privileged_allowed: bool = False
    #: GPUs that jobs may have, by number, UUID or device; all that are found if unset.
    gpus: tuple[str, ...] | None = None
    #: Addresses for the nodes of multi-node jobs; this machine has the first one.
    node_network: Annotated[str, Meta(pattern=r"^[0-9.]+/[0-9]+$")] = "10.213.0.0/16"
    #: Seconds from the launch of an instance until jobs can start on it; with some, waiting for
    #: capacity looks as it does on AWS.
    instance_boot_s: Annotated[float, Meta(ge=0)] = 0.0
    #: Seconds for which an instance that runs nothing is kept, beyond what `minvCpus` keeps.
    instance_idle_s: Annotated[float, Meta(ge=0)] = 60.0
    #: How often each Spot instance is reclaimed, in times an hour, to see how jobs take it.
    spot_interruptions_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    #: Draws other moments for that; the same seed draws the same for the same instances.
    spot_interruptions_seed: int = 0
    #: Let queues of compute environments have quota shares, with lending, borrowing and preemption;
    #: AWS has these for service jobs only.
    are_container_quota_shares_allowed: bool = False
    #: What Spot capacity costs, in percent of the price on demand; see `bidPercentage`.
    spot_price_percent: Annotated[int, Meta(ge=1, le=100)] = 35
    #: Spot prices of instance types that differ from that, as `TYPE=USD` an hour.
    spot_prices: dict[str, Annotated[float, Meta(gt=0)]] = {}
    #: Registries (`host:port`) that are spoken to without TLS; those on loopback always are.
    insecure_registries: tuple[str, ...] = ()
    #: Tell jobs where this server is, and give those with a `jobRoleArn` temporary keys of it.
    is_endpoint_given_to_jobs: bool = False
    #: Variables of every container whose definition does not set them, as `NAME=VALUE`: where jobs
    #: find S3, for one (`AWS_ENDPOINT_URL_S3`). A value with commas only in the file.
    job_environment: dict[VariableName, str] = {}
    #: Days for which finished jobs stay describable, 7 or more as on AWS.
    finished_job_retention_days: Annotated[int, Meta(ge=7)] = 7
    #: Days for which is kept what the server decided from, for `batchyard replay`; 0: nothing is.
    recording_days: Annotated[int, Meta(ge=0)] = 7
    #: MiB that all of that may take: the oldest goes first.
    recording_mib_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    #: What the server logs: debug, info, warning, error.
    log_level: Annotated[str, Meta(pattern=r"^(debug|info|warning|error)$")] = "info"
    #: More access keys; only in the file.
    keys: tuple[KeySettings, ...] = ()

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().absolute()

    @property
    def db_url(self) -> str:
        return self.db or f"sqlite:///{self.data_path / 'batchyard.db'}"


def read_settings(
    given: Mapping[str, Any], *, config: str | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Read the settings; `given` is what the command line says (None: not said).

    Raises `click.UsageError` that names the setting, where it stands and what it may be.
    """
    values: dict[str, Any] = _read_file(config or environ.get(f"{PREFIX}CONFIG"))
    for name in Settings.__struct_fields__:
        text = environ.get(PREFIX + name.upper())
        if text is not None and name != "keys":
            values[name] = _read_variable(name, text)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return msgspec.convert(values, type=Settings, strict=False)
    except msgspec.ValidationError as error:
        raise click.UsageError(_explain(error)) from error


#: Given in a variable as items between commas.
_LISTS = ("devices", "gpus", "host_paths", "insecure_registries")
#: Given in a variable as `NAME=VALUE` between commas.
_TABLES = ("file_systems", "job_environment", "spot_prices", "training_folders")


def _read_variable(name: str, text: str) -> object:
    items = [each for each in text.split(",") if each]
    if name in _LISTS:
        return items
    if name in _TABLES:
        return {left: right for left, _, right in (each.partition("=") for each in items)}
    return text


def _read_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise click.UsageError(f"cannot read the settings file {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise click.UsageError(f"the settings file {path} is not TOML: {error}") from error


def _explain(error: msgspec.ValidationError) -> str:
    text = str(error)
    found = re.search(r"`\$\.?([a-z_]+)", text)
    if found is None:
        return f"settings: {text}"
    name = found.group(1)
    return f"setting {name} ({PREFIX}{name.upper()}): {text}"
