"""Container output, and the model of CloudWatch Logs over it.

Owns groups, streams, pages, tokens, filter patterns and retention. Refuses to know SQL (`store`
does) and HTTP (`wire` does).
"""

from batchyard.logs.log_store import LogStore

__all__ = ["LogStore"]
