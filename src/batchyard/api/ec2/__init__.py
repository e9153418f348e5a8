"""EC2, read-only: the instances of our environments, and the types there are.

For whoever follows `ec2InstanceId` onwards (reference/integrations.md section 8). Every operation
that is not here is refused by the wire.
"""

from functools import partial

from batchyard.api.ec2.instance_types import describe_instance_types
from batchyard.api.ec2.instances import describe_instances
from batchyard.store import Store
from batchyard.wire.call import Handlers


def handlers(store: Store) -> Handlers:
    """Give the handler of each operation of `ec2` that is served."""
    return {
        ("ec2", "DescribeInstances"): partial(describe_instances, store),
        ("ec2", "DescribeInstanceTypes"): describe_instance_types,
    }
