"""What callers of AWS Batch may say: every check of a member, and what it comes to. Pure.

One module per subject of the reference. The operations beside this folder call them; none of them
knows the store, the caller or the time.
"""
