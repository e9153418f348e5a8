"""Where output goes, as the supervisor kept it, becomes what the port calls it again.

A target without a stream is one of files. Knows nothing else.
"""

import msgspec

from batchyard.compute.local.shapes import LogShape
from batchyard.compute.port import FileTarget, LogTarget, Target


def target_of(shape: LogShape | None) -> Target | None:
    """Read a target back; one kept before a member existed has that member's default."""
    if shape is None:
        return None
    if "stream" in shape:
        return msgspec.convert(shape, type=LogTarget)
    return msgspec.convert(shape, type=FileTarget)
