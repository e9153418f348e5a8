"""AWS Batch: one module per resource, one function per operation."""

from functools import partial

from batchyard.api.batch import (
    consumables,
    definitions,
    environment_update,
    environments,
    jobs,
    policies,
    queues,
    quota_shares,
    service_environments,
    service_jobs,
    service_submit,
    snapshot,
    stop,
    submit,
    tags,
)
from batchyard.api.batch.active_shares import ActiveShares
from batchyard.api.batch.catalog import Catalog
from batchyard.api.batch.job_ids import JobIds
from batchyard.api.batch.service import Service
from batchyard.engine.foresight import Foresight
from batchyard.store import Store
from batchyard.wire.call import Handlers

_SERVICE = "batch"

_OPERATIONS = {
    "CancelJob": stop.cancel_job,
    "CancelJobs": stop.cancel_jobs,
    "CreateComputeEnvironment": environments.create_compute_environment,
    "CreateConsumableResource": consumables.create_consumable_resource,
    "CreateJobQueue": queues.create_job_queue,
    "CreateQuotaShare": quota_shares.create_quota_share,
    "CreateServiceEnvironment": service_environments.create_service_environment,
    "CreateSchedulingPolicy": policies.create_scheduling_policy,
    "DeleteComputeEnvironment": environments.delete_compute_environment,
    "DeleteConsumableResource": consumables.delete_consumable_resource,
    "DeleteJobQueue": queues.delete_job_queue,
    "DeleteQuotaShare": quota_shares.delete_quota_share,
    "DeleteServiceEnvironment": service_environments.delete_service_environment,
    "DeleteSchedulingPolicy": policies.delete_scheduling_policy,
    "DeregisterJobDefinition": definitions.deregister_job_definition,
    "DescribeComputeEnvironments": environments.describe_compute_environments,
    "DescribeConsumableResource": consumables.describe_consumable_resource,
    "DescribeJobDefinitions": definitions.describe_job_definitions,
    "DescribeJobQueues": queues.describe_job_queues,
    "DescribeJobs": jobs.describe_jobs,
    "DescribeQuotaShare": quota_shares.describe_quota_share,
    "DescribeSchedulingPolicies": policies.describe_scheduling_policies,
    "DescribeServiceEnvironments": service_environments.describe_service_environments,
    "DescribeServiceJob": service_jobs.describe_service_job,
    "GetJobQueueSnapshot": snapshot.get_job_queue_snapshot,
    "ListConsumableResources": consumables.list_consumable_resources,
    "ListJobs": jobs.list_jobs,
    "ListJobsByConsumableResource": consumables.list_jobs_by_consumable_resource,
    "ListQuotaShares": quota_shares.list_quota_shares,
    "ListSchedulingPolicies": policies.list_scheduling_policies,
    "ListServiceJobs": service_jobs.list_service_jobs,
    "ListTagsForResource": tags.list_tags_for_resource,
    "RegisterJobDefinition": definitions.register_job_definition,
    "SubmitJob": submit.submit_job,
    "SubmitServiceJob": service_submit.submit_service_job,
    "TagResource": tags.tag_resource,
    "TerminateJob": stop.terminate_job,
    "TerminateJobs": stop.terminate_jobs,
    "TerminateServiceJob": stop.terminate_service_job,
    "TerminateServiceJobs": stop.terminate_service_jobs,
    "UntagResource": tags.untag_resource,
    "UpdateComputeEnvironment": environment_update.update_compute_environment,
    "UpdateConsumableResource": consumables.update_consumable_resource,
    "UpdateJobQueue": queues.update_job_queue,
    "UpdateQuotaShare": quota_shares.update_quota_share,
    "UpdateServiceEnvironment": service_environments.update_service_environment,
    "UpdateServiceJob": service_jobs.update_service_job,
    "UpdateSchedulingPolicy": policies.update_scheduling_policy,
}


def handlers(
    store: Store,
    *,
    is_only_writer: bool = True,
    are_container_quota_shares_allowed: bool = False,
    ids: JobIds | None = None,
    foresight: Foresight | None = None,
) -> Handlers:
    """Give the handler of every operation of AWS Batch that we serve.

    `is_only_writer` says that no other process writes to the store: only then are queues and
    definitions kept in memory between submissions. `foresight` says what callers are warned of.
    """
    service = Service(
        store,
        Catalog(store, is_only_writer=is_only_writer),
        ActiveShares(store),
        are_container_quota_shares_allowed=are_container_quota_shares_allowed,
        ids=ids or JobIds(),
        foresight=foresight,
    )
    return {
        (_SERVICE, operation): partial(handler, service)
        for operation, handler in _OPERATIONS.items()
    }
