"""What the options of a container's log driver ask for, and what is wrong with them.

Decides how `logConfiguration.options` of the drivers that keep output here are read: `awslogs`,
`json-file` and `none`. Pure: the API refuses with the same functions by which the engine says what
to keep. What is wrong is said in the words of docker's drivers, which is what a container's reason
shows on AWS (reference/jobs.md sections 1.6 and 11.5).

Patterns are those of RE2, as docker's are; it matches in linear time, so that nobody's pattern can
hold up the server.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchyard.model.limits import CONTAINER_REASON_LENGTH_MAX

#: Options that are understood; all others of docker's are not.
AWSLOGS_OPTIONS = (
    "awslogs-region",
    "awslogs-group",
    "awslogs-stream-prefix",
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-multiline-pattern",
    "mode",
    "max-buffer-size",
)
JSON_FILE_OPTIONS = ("max-size", "max-file", "mode", "max-buffer-size")

#: Ours: docker has no limit, but a pattern is compiled for each task.
PATTERN_LENGTH_MAX = 4096
#: Ours: what a compiled pattern may take; past that it matches with less, and slower.
_PATTERN_BYTES_MAX = 1024 * 1024

#: What docker's awslogs driver makes of each code of `awslogs-datetime-format`. `%L` brings its own
#: point. What is not among them becomes nothing, as there.
_REGEX_BY_CODE = {
    "%a": "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
    "%A": "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
    "%w": "[0-6]",
    "%d": "(?:0[1-9]|[1,2][0-9]|3[0,1])",
    "%b": "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
    "%B": (
        "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    ),
    "%m": "(?:0[1-9]|1[0-2])",
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%H": "(?:[0,1][0-9]|2[0-3])",
    "%I": "(?:0[0-9]|1[0-2])",
    "%p": "[A,P]M",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%f": r"\d{6}",
    "%z": r"[+-]\d{4}",
    "%Z": "[A-Z]{1,4}T",
    "%j": "(?:0[0-9][1-9]|[1,2][0-9][0-9]|3[0-5][0-9]|36[0-6])",
    "%L": r"\.\d{3}",
}
_CODE = re.compile("%.")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.ASCII | re.IGNORECASE)
_POWER_BY_UNIT = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DECIMAL = 1000
_INTEGER = re.compile(r"[+-]?\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """How much of its output a container's files hold."""

    #: A file that has reached it is followed by a new one; None: there is one, without an end.
    bytes_max: int | None = None
    #: The oldest is dropped when there would be more.
    files_max: int = 1


def event_start_of(options: Mapping[str, str]) -> str | None:
    """Give the RE2 pattern of lines that begin an event; None: every line is an event.

    `awslogs-datetime-format` wins over `awslogs-multiline-pattern`. Raises ValueError, in docker's
    words, for a pattern that is none.
    """
    pattern = options.get("awslogs-multiline-pattern") or ""
    if date_format := options.get("awslogs-datetime-format"):
        pattern = _CODE.sub(lambda code: _REGEX_BY_CODE.get(code.group(), ""), date_format)
    if not pattern:
        return None
    if (problem := _explain_pattern(pattern)) is not None:
        shown = pattern.replace("\\", "\\\\").replace('"', '\\"')
        raise ValueError(
            f'awslogs could not parse multiline pattern key "{shown}": error parsing regexp:'
            f" {problem}"
        )
    return pattern


def compile_pattern(pattern: str) -> Callable[[str], object | None]:
    """Give what finds the pattern in a line. Raises ValueError if it is none.

    Compiled ones are kept by the library, the last 128.
    """
    import re2  # only where somebody has a pattern

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MAX
    try:
        find: Callable[[str], object | None] = re2.compile(pattern, options).search
    except UnicodeEncodeError:
        raise ValueError("invalid UTF-8") from None
    except re2.error as error:
        told = error.args[0]
        text = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        raise ValueError(text) from None
    return find


def file_limits_of(options: Mapping[str, str]) -> FileLimits:
    """Read `max-size` and `max-file`; sizes are decimal, as docker takes them here.

    Raises ValueError, in docker's words, for what they cannot be.
    """
    bytes_max = None
    if (size := options.get("max-size")) is not None:
        found = _SIZE.fullmatch(size)
        if found is None:
            raise ValueError(f"invalid size: '{size}'")
        bytes_max = int(float(found[1]) * _DECIMAL ** _POWER_BY_UNIT[found[2].lower()])
        if bytes_max <= 0:
            raise ValueError("max-size must be a positive number")
    files_max = 1
    if (count := options.get("max-file")) is not None:
        if _INTEGER.fullmatch(count) is None:
            raise ValueError(f'strconv.Atoi: parsing "{count}": invalid syntax')
        files_max = int(count)
        if files_max < 1:
            raise ValueError("max-file cannot be less than 1")
    return FileLimits(bytes_max=bytes_max, files_max=files_max)


def explain_log_options(driver: str, options: Mapping[str, str]) -> str | None:
    """Say what docker would say against these options; None: nothing.

    Knows the drivers `awslogs`, `json-file` and `none`.
    """
    allowed = {"awslogs": AWSLOGS_OPTIONS, "json-file": JSON_FILE_OPTIONS}.get(driver, ())
    for name in options:
        if name not in allowed:
            return f"unknown log opt '{name}' for {driver} log driver"
    try:
        if driver == "awslogs":
            event_start_of(options)
        elif driver == "json-file":
            file_limits_of(options)
    except ValueError as error:
        return str(error)
    return _explain_mode(options)


def log_driver_failed(problem: str, *, is_fargate: bool) -> str:
    """Word the reason of a container whose log driver could not be set up."""
    if is_fargate:
        reason = f"ResourceInitializationError: failed to validate logger args: {problem}"
    else:
        reason = (
            "CannotStartContainerError: Error response from daemon: failed to initialize logging"
            f" driver: {problem}"
        )
    return reason[:CONTAINER_REASON_LENGTH_MAX]


def _explain_mode(options: Mapping[str, str]) -> str | None:
    mode = options.get("mode") or "blocking"
    if mode not in ("blocking", "non-blocking"):
        return f"logger: logging mode not supported: {mode}"
    size = options.get("max-buffer-size")
    if size is None:
        return None
    if mode != "non-blocking":
        return "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
    if _SIZE.fullmatch(size) is None:
        return f"error parsing option max-buffer-size: invalid size: '{size}'"
    return None


def _explain_pattern(pattern: str) -> str | None:
    """Say why RE2 does not take a pattern; None: it does."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"pattern is longer than {PATTERN_LENGTH_MAX} characters"
    try:
        compile_pattern(pattern)
    except ValueError as error:
        return str(error)
    return None
