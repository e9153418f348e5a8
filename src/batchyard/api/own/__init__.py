"""What goes beyond AWS, under `/batchyard/v1`: one module per resource, one function per operation.

The contract is a service model like AWS's: `wire/own_models`. Its operations are signed as theirs.
"""

from functools import partial

from batchyard.api.own.explanations import ExplainJob, get_job_explanation
from batchyard.api.own.forecasts import get_job_forecast, get_queue_forecast
from batchyard.api.own.futures import Seer
from batchyard.api.own.instances import (
    FindUse,
    interrupt_instance,
    interrupt_job,
    list_instances,
)
from batchyard.api.own.registrations import (
    deregister_instance,
    get_instance_wish,
    register_instances,
)
from batchyard.api.own.what_if import what_if
from batchyard.store import Store
from batchyard.wire.call import Handlers

SERVICE = "batchyard"


def handlers(store: Store, *, explain_job: ExplainJob, find_use: FindUse, seer: Seer) -> Handlers:
    """Give the handlers of our own operations.

    `explain_job` and `find_use` ask the engine of this process, which answers from what it holds;
    `seer` looks ahead, and asks no engine.
    """
    return {
        (SERVICE, "GetJobExplanation"): partial(get_job_explanation, store, explain_job),
        (SERVICE, "GetJobForecast"): partial(get_job_forecast, store, seer),
        (SERVICE, "GetQueueForecast"): partial(get_queue_forecast, store, seer),
        (SERVICE, "WhatIf"): partial(what_if, seer),
        (SERVICE, "RegisterInstances"): partial(register_instances, store),
        (SERVICE, "DeregisterInstance"): partial(deregister_instance, store),
        (SERVICE, "InterruptJob"): partial(interrupt_job, store),
        (SERVICE, "InterruptInstance"): partial(interrupt_instance, store),
        (SERVICE, "ListInstances"): partial(list_instances, store, find_use),
        (SERVICE, "GetInstanceWish"): partial(get_instance_wish, store),
    }
