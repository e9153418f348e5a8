"""What surrounds the containers of training jobs, around whatever backend runs them.

Owns SageMaker's container contract, `/opt/ml` (docs/service-jobs.md). Refuses to run anything, and
to know jobs. `backend` has the moments, `folders` what lies where.
"""

from batchyard.compute.training.backend import TrainingBackend as TrainingBackend
