"""A yard where there is no Linux: in a process that lacks what Linux alone has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import ctypes, os, select, selectors, signal, socket

#: Of Python's, and of the C library's.
ONLY_LINUX = {
    os: ["O_PATH", "pidfd_open", "memfd_create", "eventfd", "sched_getaffinity", "O_TMPFILE"],
    select: [name for name in dir(select) if name.lower().startswith("epoll")],
    signal: ["pidfd_send_signal", "SIGRTMIN", "SIGRTMAX"],
    socket: [name for name in dir(socket) if name.startswith(("AF_NETLINK", "SO_PEER"))],
}
CALLS = {"mount", "umount2", "unshare", "setns", "prctl", "fallocate", "inotify_init1"}

for module, names in ONLY_LINUX.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
selectors.DefaultSelector = selectors.PollSelector


class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in CALLS:
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = Library

from batchyard.testing import yard
from tests.testing.shop import Shop

with yard() as made:
    shop = Shop(made)
    print(made.finish(shop.submit())[0]["status"])
"""


def test_a_job_without_linux():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("SUCCEEDED\n", "")
