"""Images on this machine: named, imported, pulled, unpacked once for all containers.

Owns `images/` in the data folder. Refuses to know tasks and containers.
"""
