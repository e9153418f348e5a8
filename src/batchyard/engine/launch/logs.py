"""What a container's `logConfiguration` means here: a log stream, files, or nothing.

Decides by reference/jobs.md section 11.5; the options are read by `model.log_options`, in docker's
words. Refuses to know how output is kept.
"""

from batchyard.compute.port import FileTarget, LogTarget, Target
from batchyard.model.ids import Scope
from batchyard.model.log_options import event_start_of, explain_log_options, file_limits_of
from batchyard.model.log_stream import STREAM_DRIVER, log_group_of, log_region_of
from batchyard.model.records import Json


def target_of(container: Json, *, scope: Scope, stream: str, name: str) -> Target | None:
    """Say where a container's output goes; None: nowhere (driver `none`).

    `container` is as DescribeJobs shows it, `stream` the name of its log stream, `name` its own.
    Raises ValueError, in the words of docker's drivers, for options that cannot be: word it with
    `model.log_options.log_driver_failed`.
    """
    configuration = container.get("logConfiguration") or {}
    options = configuration.get("options") or {}
    driver = configuration.get("logDriver") or STREAM_DRIVER
    if (problem := explain_log_options(driver, options)) is not None:
        raise ValueError(problem)
    if driver == "none":
        return None
    if driver == "json-file":
        limits = file_limits_of(options)
        return FileTarget(container=name, bytes_max=limits.bytes_max, files_max=limits.files_max)
    if driver != STREAM_DRIVER:
        raise ValueError(f"logger: no log driver named '{driver}' is registered")
    return LogTarget(
        account=scope.account,
        region=log_region_of(container) or scope.region,
        group=log_group_of(container),
        stream=stream,
        starts_event=event_start_of(options),
    )
