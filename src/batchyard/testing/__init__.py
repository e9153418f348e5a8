"""A test kit: the real server in the test's own process, on time and machines that the test owns.

See `docs/testing.md`. The front door is `yard`.
"""

from batchyard.testing.behaviour import Container as Container
from batchyard.testing.behaviour import Jobs as Jobs
from batchyard.testing.front_door import START as START
from batchyard.testing.front_door import Yard as Yard
from batchyard.testing.front_door import yard as yard
from batchyard.testing.trouble import NotInRealTime as NotInRealTime
from batchyard.testing.trouble import YardTrouble as YardTrouble
