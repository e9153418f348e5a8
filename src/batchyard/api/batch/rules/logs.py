"""What `logConfiguration` may say (reference/jobs.md section 11.5). Pure.

Decides which drivers and options are carried. What AWS has and we do not is refused by name. What
an option's value may be is docker's to say, when the container starts (`model.log_options`).
"""

import re
from collections.abc import Callable, Mapping, Sequence

from batchyard.api.batch.refusals import refuse_given, unsupported
from batchyard.api.batch.rules.choices import not_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.model.log_options import AWSLOGS_OPTIONS, JSON_FILE_OPTIONS
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

#: Drivers of AWS's enumeration, and `none`, which Docker has and clients can send.
DRIVERS = (
    *("awsfirelens", "awslogs", "fluentd", "gelf", "journald", "json-file", "none"),
    *("splunk", "syslog"),
)
_FARGATE_DRIVERS = ("awslogs", "splunk")

_GROUP = re.compile(r"[A-Za-z0-9_./#-]{1,512}")
_STREAM_PREFIX = re.compile(r"[^:*]{1,256}")
_REGION = re.compile(r"[a-z0-9-]{1,64}")

#: What each driver that we carry may be told.
_OPTIONS_BY_DRIVER: Mapping[str, Sequence[str]] = {
    "awslogs": AWSLOGS_OPTIONS,
    "json-file": JSON_FILE_OPTIONS,
    "none": (),
}


def check_logs(logs: Json, ground: Ground) -> None:
    """Refuse a log driver or an option that we do not carry, and names that cannot be.

    A value that the driver cannot use keeps the container from starting, as on AWS.
    """
    driver = logs["logDriver"]
    if driver not in DRIVERS:
        raise client_exception(f"logDriver {driver} is not one of {', '.join(DRIVERS)}.")
    if ground.is_fargate and driver not in _FARGATE_DRIVERS:
        raise not_on_fargate(f"logDriver {driver}")
    allowed = _OPTIONS_BY_DRIVER.get(driver)
    if allowed is None:
        raise unsupported(f"logDriver {driver}")
    refuse_given(logs, ("secretOptions",), within="logConfiguration")
    options: Mapping[str, str] = logs.get("options") or {}
    for option, value in options.items():
        if option not in allowed:
            raise unsupported(f"logConfiguration option {option}")
        if check := _CHECK_BY_OPTION.get(option):
            check(option, value)


def _check_group(option: str, value: str) -> None:
    if not _GROUP.fullmatch(value):
        raise client_exception(f"{option} {value} is not a valid log group name.")


def _check_prefix(option: str, value: str) -> None:
    if not _STREAM_PREFIX.fullmatch(value):
        raise client_exception(f"{option} {value} is not valid in a log stream name.")


def _check_region(option: str, value: str) -> None:
    if not _REGION.fullmatch(value):
        raise client_exception(f"{option} {value} is not a region.")


_CHECK_BY_OPTION: Mapping[str, Callable[[str, str], None]] = {
    "awslogs-group": _check_group,
    "awslogs-region": _check_region,
    "awslogs-stream-prefix": _check_prefix,
}
