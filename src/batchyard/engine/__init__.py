"""The one live loop: wishes and reports -> core -> commit -> effects -> timers; and recovery.

The only writer of facts. Decides nothing itself: the core and the scheduler do.
"""
