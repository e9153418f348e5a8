"""The small process that owns the containers of one data folder, and outlives the server.

`python -m batchyard.compute.local.supervisor DATA_DIR` runs it. Owns everything on the machine that
exists because a container does. Refuses to know jobs, queues and the store, and imports nothing but
light parts of the standard library: it should stay small.
"""
