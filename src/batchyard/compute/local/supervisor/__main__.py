"""Runs the supervisor of a data folder: `python -m batchyard.compute.local.supervisor DATA_DIR`.

Owns only the beginning: a process that is nobody's child. Refuses to know anything else.
"""

import os
import sys

from batchyard.compute.local.supervisor.loop import main, say

if os.fork():  # Nobody's child: whoever started us need not wait for us, and cannot.
    os._exit(0)
trouble = main(os.path.realpath(sys.argv[1]))
if trouble:
    say(trouble)
    sys.exit(1)
