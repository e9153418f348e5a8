"""What a simulation says, beside what somebody else says of the same jobs.

Nothing here may take a start, a wait or a sum from the code that it checks: what is expected was
published by others, follows from a theorem, or is counted again from the definition.
"""
