"""Addresses that mean something to others."""

#: Where tasks with a network of their own reach this machine. It is the one address beside loopback
#: at which AWS's SDKs ask for a container's keys over plain HTTP (ECS's own endpoint of tasks).
TASK_ENDPOINT_ADDRESS = "169.254.170.2"
