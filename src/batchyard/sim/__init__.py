"""Time that we own: traces of jobs run forward by the core, and the live engine under faults.

Decides nothing about jobs. Rule: what runs here is the code that serves, not a likeness of it.
"""
