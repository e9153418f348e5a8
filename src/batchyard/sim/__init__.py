"""Time that we own: the live engine, run where the clock moves when we say so.

Decides nothing about jobs. Rule: what runs here is the code that serves, not a likeness of it.
"""
