"""The life of jobs: what becomes true, given what happened and when.

Pure, and with one door: `step`. Refuses to know I/O, clocks, databases and containers.
"""
