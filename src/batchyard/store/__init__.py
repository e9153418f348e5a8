"""SQL: records, events, queries, migrations. The only room that knows a database.

Owns every table and every statement; refuses to know why a record changes. Other rooms pass
functions of a `Connection` to `Store.write` and `Store.read`, and call the functions of the modules
per thing (`jobs`, `wishes`, `events`, `environments`, `queues`,
`policies`, `shares`, `definitions`, `tags`, `log_*`) inside them.
"""

from sqlalchemy import Connection

from batchyard.store.leadership import Leadership, LeadershipLost
from batchyard.store.store import Store
from batchyard.store.trouble import StoreTrouble

__all__ = ["Connection", "Leadership", "LeadershipLost", "Store", "StoreTrouble"]
