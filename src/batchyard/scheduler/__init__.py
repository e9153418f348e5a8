"""Who runs where: a pure function from a view of what waits and what is free to a plan.

Pure. Refuses to know jobs' life cycles, time, stores and backends.
"""
