"""What a backend is told to run: a stored job's spec and its placement become a task.

Decides what AWS's members mean to a container (reference/jobs.md sections 10.1 and 11). Pure, but
for what the operator has allowed (`Surroundings`). Refuses to know how a container is made.
"""

from batchyard.engine.launch.refusal import CannotLaunch as CannotLaunch
from batchyard.engine.launch.surroundings import Surroundings as Surroundings
from batchyard.engine.launch.task import needed_log_groups_of as needed_log_groups_of
from batchyard.engine.launch.task import secrets_of as secrets_of
from batchyard.engine.launch.task import task_of as task_of
