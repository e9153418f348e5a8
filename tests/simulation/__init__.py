"""The whole engine under faults drawn from a seed; see docs/testing-by-simulation.md."""
