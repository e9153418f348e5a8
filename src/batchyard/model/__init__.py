"""The vocabulary: ids, amounts, times, limits, AWS's enumerations and texts.

Pure. Refuses to know any I/O, clock or database; every other room may import it.
"""
