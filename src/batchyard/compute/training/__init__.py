"""What surrounds the containers of training jobs, around whatever backend runs them."""

from batchyard.compute.training.backend import TrainingBackend as TrainingBackend
