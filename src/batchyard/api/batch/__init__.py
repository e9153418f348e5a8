"""AWS Batch: one module per resource, one function per operation."""

from functools import partial

from batchyard.api.batch import (
    definitions,
    environment_update,
    environments,
    jobs,
    policies,
    queues,
    stop,
    submit,
    tags,
)
from batchyard.api.batch.active_shares import ActiveShares
from batchyard.api.batch.catalog import Catalog
from batchyard.api.batch.service import Service
from batchyard.store import Store
from batchyard.wire.call import Handlers

_SERVICE = "batch"

_OPERATIONS = {
    "CancelJob": stop.cancel_job,
    "CreateComputeEnvironment": environments.create_compute_environment,
    "CreateJobQueue": queues.create_job_queue,
    "CreateSchedulingPolicy": policies.create_scheduling_policy,
    "DeleteComputeEnvironment": environments.delete_compute_environment,
    "DeleteJobQueue": queues.delete_job_queue,
    "DeleteSchedulingPolicy": policies.delete_scheduling_policy,
    "DeregisterJobDefinition": definitions.deregister_job_definition,
    "DescribeComputeEnvironments": environments.describe_compute_environments,
    "DescribeJobDefinitions": definitions.describe_job_definitions,
    "DescribeJobQueues": queues.describe_job_queues,
    "DescribeJobs": jobs.describe_jobs,
    "DescribeSchedulingPolicies": policies.describe_scheduling_policies,
    "ListJobs": jobs.list_jobs,
    "ListSchedulingPolicies": policies.list_scheduling_policies,
    "ListTagsForResource": tags.list_tags_for_resource,
    "RegisterJobDefinition": definitions.register_job_definition,
    "SubmitJob": submit.submit_job,
    "TagResource": tags.tag_resource,
    "TerminateJob": stop.terminate_job,
    "UntagResource": tags.untag_resource,
    "UpdateComputeEnvironment": environment_update.update_compute_environment,
    "UpdateJobQueue": queues.update_job_queue,
    "UpdateSchedulingPolicy": policies.update_scheduling_policy,
}


def handlers(store: Store, *, is_only_writer: bool = True) -> Handlers:
    """Give the handler of every operation of AWS Batch that we serve.

    `is_only_writer` says that no other process writes to the store: only then are queues and
    definitions kept in memory between submissions.
    """
    service = Service(store, Catalog(store, is_only_writer=is_only_writer), ActiveShares(store))
    return {
        (_SERVICE, operation): partial(handler, service)
        for operation, handler in _OPERATIONS.items()
    }
