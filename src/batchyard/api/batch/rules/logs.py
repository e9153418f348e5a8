"""What `logConfiguration` may say (reference/jobs.md section 11.5). Pure.

Decides which drivers and options are carried. What AWS has and we do not is refused by name.
"""

import re
from collections.abc import Callable, Mapping

from batchyard.api.batch.refusals import refuse_given, unsupported
from batchyard.api.batch.rules.choices import not_on_fargate
from batchyard.api.batch.rules.ground import Ground
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
_BYTES = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})? ?(?:[kKmMgGtTpP]?i?[bB]?)")
_FILES = re.compile(r"[1-9][0-9]{0,8}")
_MODES = ("blocking", "non-blocking")


def check_logs(logs: Json, ground: Ground) -> None:
    """Refuse a log driver or an option that we do not carry, and values that cannot be."""
    driver = logs["logDriver"]
    if driver not in DRIVERS:
        raise client_exception(f"logDriver {driver} is not one of {', '.join(DRIVERS)}.")
    if ground.is_fargate and driver not in _FARGATE_DRIVERS:
        raise not_on_fargate(f"logDriver {driver}")
    options_of_driver = _CHECK_BY_OPTION_BY_DRIVER.get(driver)
    if options_of_driver is None:
        raise unsupported(f"logDriver {driver}")
    refuse_given(logs, ("secretOptions",), within="logConfiguration")
    options: Mapping[str, str] = logs.get("options") or {}
    for option, value in options.items():
        check = options_of_driver.get(option)
        if check is None:
            raise unsupported(f"logConfiguration option {option}")
        check(option, value)
    if "max-buffer-size" in options and options.get("mode") == "blocking":
        raise client_exception("max-buffer-size needs mode to be non-blocking.")


def _check_group(option: str, value: str) -> None:
    if not _GROUP.fullmatch(value):
        raise client_exception(f"{option} {value} is not a valid log group name.")


def _check_prefix(option: str, value: str) -> None:
    if not _STREAM_PREFIX.fullmatch(value):
        raise client_exception(f"{option} {value} is not valid in a log stream name.")


def _check_region(option: str, value: str) -> None:
    if not _REGION.fullmatch(value):
        raise client_exception(f"{option} {value} is not a region.")


def _check_mode(option: str, value: str) -> None:
    if value not in _MODES:
        raise client_exception(f"{option} {value} is not one of {', '.join(_MODES)}.")


def _check_bytes(option: str, value: str) -> None:
    if not _BYTES.fullmatch(value):
        raise client_exception(f"{option} {value} is not a number of bytes (like 25m).")


def _check_files(option: str, value: str) -> None:
    if not _FILES.fullmatch(value):
        raise client_exception(f"{option} {value} must be a whole number greater than 0.")


def _check_given(option: str, value: str) -> None:
    if not value:
        raise client_exception(f"{option} must not be empty.")


_Check = Callable[[str, str], None]

#: What each driver that we carry may be told.
_CHECK_BY_OPTION_BY_DRIVER: Mapping[str, Mapping[str, _Check]] = {
    "awslogs": {
        "awslogs-group": _check_group,
        "awslogs-region": _check_region,
        "awslogs-stream-prefix": _check_prefix,
        "awslogs-datetime-format": _check_given,
        "awslogs-multiline-pattern": _check_given,
        "awslogs-create-group": _check_given,
        "mode": _check_mode,
        "max-buffer-size": _check_bytes,
    },
    "json-file": {
        "max-size": _check_bytes,
        "max-file": _check_files,
        "mode": _check_mode,
        "max-buffer-size": _check_bytes,
    },
    "none": {},
}
