"""CloudWatch Logs: the operations by which clients read what their jobs wrote.

Specified in reference/integrations.md sections 2.2 and 2.3. An operation that is not here is
refused by the wire as unknown.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from batchyard.api.logs import events, groups, streams
from batchyard.logs import LogStore
from batchyard.wire.call import Call, Handlers

_Operation = Callable[[LogStore, Call, Any], Coroutine[Any, Any, Any]]

_OPERATIONS: dict[str, _Operation] = {
    "CreateLogGroup": groups.create_log_group,
    "DeleteLogGroup": groups.delete_log_group,
    "DescribeLogGroups": groups.describe_log_groups,
    "PutRetentionPolicy": groups.put_retention_policy,
    "DeleteRetentionPolicy": groups.delete_retention_policy,
    "CreateLogStream": streams.create_log_stream,
    "DeleteLogStream": streams.delete_log_stream,
    "DescribeLogStreams": streams.describe_log_streams,
    "PutLogEvents": events.put_log_events,
    "GetLogEvents": events.get_log_events,
    "FilterLogEvents": events.filter_log_events,
}


def handlers(log_store: LogStore) -> Handlers:
    """Give the handler of each operation of `logs`."""
    return {("logs", name): partial(each, log_store) for name, each in _OPERATIONS.items()}
