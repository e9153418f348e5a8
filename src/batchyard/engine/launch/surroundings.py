"""What jobs find around them by the operator's leave: file systems, variables, this server.

Owns what settings and the running server put into every launch. Refuses to know any job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from batchyard.access.task_tokens import TaskTokens
from batchyard.compute.port import Network


def _no_url(_network: Network) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an operator gives to jobs beside what their definitions say."""

    #: Folders of this machine, by the id of the EFS file system or access point, or the ARN of the
    #: S3 file system or access point, that they stand for.
    folder_by_file_system: Mapping[str, str] = field(default_factory=dict)
    #: Folders of this machine, by the prefix of S3 (`s3://bucket/data`) that they stand for in
    #: training jobs. Really so: none of them is reached through a link.
    folder_by_prefix: Mapping[str, str] = field(default_factory=dict)
    #: Variables of every container whose definition does not set them.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The server's URL as seen from a network; None: it cannot be reached from there.
    url_seen_from: Callable[[Network], str | None] = _no_url
    #: Makes the tokens of metadata and credentials endpoints; None: there are none.
    tokens: TaskTokens | None = None
    #: Jobs are told of the server, and given keys for their `jobRoleArn`.
    is_endpoint_given: bool = False
