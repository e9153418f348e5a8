"""The same core with time we own: traces of jobs, run forward under any configuration.

Decides nothing about jobs: the production core does.
"""
