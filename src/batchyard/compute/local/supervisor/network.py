"""Networks of their own for tasks: a switch that nobody else sees, and a link to it for each.

Owns the addresses, the switch and the namespaces. Each task has a network namespace with `eth0`;
its peer is a port of a bridge that lies in a namespace of the supervisor's own, so that neither the
host's firewall (docker sets FORWARD to DROP) nor its bridge filter is in the way between tasks. One
more port leads to the host, which has the range's first address, the gateway, and the one at which
SDKs look for a task's endpoint. Tasks reach each
other and the host on all ports, unless the host's own firewall says otherwise; nothing is forwarded
beyond the host, as AWS gives such nodes no public address. Refuses to know what tasks do with it.

Nothing here has a name in the file system, and nothing outlives this process: namespaces end with
the last process or descriptor in them, and a pair of links with either end. The switch is made for
the first task that needs it, and ends with the supervisor.

A range larger than a thousand addresses is shared by the yards of one machine: each takes a block
of it that the host reaches nothing in.

Rule: an address is given again only after all others of the range were given.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
import zlib

from batchyard.compute.local.supervisor import kernel
from batchyard.compute.local.supervisor.namespace import base_name_of
from batchyard.compute.local.supervisor.netlink import Netlink
from batchyard.model.addresses import TASK_ENDPOINT_ADDRESS

_BRIDGE = "switch"
_UPLINK = "host"
#: A yard's part of a larger range: a thousand addresses.
_BLOCK_LENGTH = 22
#: The longest has room for the network's address, the last one, the gateway and one task.
_PREFIX_LENGTHS = range(8, 31)
_HOST_PREFIX_LENGTH = 32
#: The kernel's.
_LINK_NAME_LENGTH = 15
ROUTES_FILE = "/proc/net/route"
_ROUTE_FIELDS = 8


def link_name_of(data_dir: str) -> str:
    """Name the host's end of the way to the switch of a data directory (as it really is)."""
    return base_name_of(data_dir).replace("batchyard-", "by-")[:_LINK_NAME_LENGTH]


class NoNetwork(Exception):
    """No network can be made; the text says why."""


class Range:
    """A range of IPv4 addresses: `10.213.0.0/16`. Raises `ValueError` for anything else."""

    __slots__ = ("base", "prefix_length", "size")

    def __init__(self, text: str) -> None:
        address, _, length = text.partition("/")
        if not length.isdigit() or int(length) not in _PREFIX_LENGTHS:
            raise ValueError(f"{text} is no range of IPv4 addresses with a length of 8 to 30")
        try:
            (self.base,) = struct.unpack(">I", socket.inet_pton(socket.AF_INET, address))
        except OSError as error:
            raise ValueError(f"{text} is no range of IPv4 addresses") from error
        self.prefix_length = int(length)
        self.size = 1 << (32 - self.prefix_length)
        if self.base % self.size:
            raise ValueError(f"{text} has bits of an address beyond its length")

    def __str__(self) -> str:
        return f"{self.address(0)}/{self.prefix_length}"

    def address(self, number: int) -> str:
        return socket.inet_ntoa(struct.pack(">I", self.base + number))

    def blocks(self, seed: int) -> list[Range]:
        """Split a large range, so that the yards of one machine can have a block each; begin with
        the one that `seed` points to."""
        count = max(1, self.size >> (32 - _BLOCK_LENGTH))
        if count == 1:
            return [self]
        size = self.size // count
        starts = [self.address((seed + number) % count * size) for number in range(count)]
        return [Range(f"{start}/{_BLOCK_LENGTH}") for start in starts]

    def free_block(self, routes: str, *, own_link: str) -> Range:
        """Find a block that the host reaches nothing in. Raises `ValueError`."""
        for block in self.blocks(zlib.crc32(own_link.encode())):
            if not block.collision(routes, own_link=own_link):
                return block
        taken = self.collision(routes, own_link=own_link)
        raise ValueError(f"the range {self} collides with the host's route to {taken}")

    def collision(self, routes: str, *, own_link: str) -> str:
        """Find what the host already reaches in this range, in the text of `/proc/net/route`."""
        for line in routes.splitlines()[1:]:
            fields = line.split()
            if len(fields) < _ROUTE_FIELDS or fields[0] == own_link:
                continue
            start, mask = (socket.ntohl(int(fields[number], 16)) for number in (1, 7))
            if mask == 0:
                continue  # The way to everywhere else.
            size = (~mask & 0xFFFFFFFF) + 1
            if start < self.base + self.size and self.base < start + size:
                return f"{socket.inet_ntoa(struct.pack('>I', start))} on {fields[0]}"
        return ""


class TaskNetwork:
    """The network of one task."""

    __slots__ = ("address", "fd", "gateway", "port")

    def __init__(self, *, address: str, gateway: str, port: str, fd: int) -> None:
        self.address = address
        self.gateway = gateway
        #: The switch's end of the pair.
        self.port = port
        self.fd = fd

    @property
    def path(self) -> str:
        """What a runtime opens to enter it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"


class Networks:
    """All networks of this supervisor."""

    __slots__ = ("_fd", "_link_name", "_next", "_range", "_range_text", "_switch", "_used")

    def __init__(self, link_name: str) -> None:
        #: The host's end of the way to the switch; the same for every supervisor of a data folder.
        self._link_name = link_name
        #: What the operator gave, and this yard's block of it.
        self._range_text = ""
        self._range: Range | None = None
        self._switch: Netlink | None = None
        self._fd = -1
        self._used: set[int] = set()
        # Not from the start again after a crash: whoever knew an address then shall find nobody.
        self._next = time.time_ns() // 1_000_000

    def clear(self) -> None:
        """Remove what a supervisor that was killed left for the kernel to remove."""
        with contextlib.suppress(OSError):  # Nothing is left, or the kernel knows no networks.
            host = Netlink()
            try:
                host.delete_link(self._link_name)
            finally:
                host.close()

    def make(self, range_text: str) -> TaskNetwork:
        """Make a network with an address that nobody has. Raises `NoNetwork`."""
        try:
            switch = self._open_switch(range_text)
            number = self._choose(switch)
        except (OSError, ValueError) as error:
            raise NoNetwork(f"no network for the task: {error}") from error
        assert self._range is not None
        port = f"port{number}"
        address, gateway = self._range.address(number), self._range.address(1)
        fd = -1
        try:
            with kernel.new_namespace(kernel.CLONE_NEWNET) as fd:
                inside = Netlink()
            try:
                hardware = b"\x02\x42" + socket.inet_aton(address)
                inside.raise_link("lo")
                inside.add_veth("eth0", hardware=hardware, peer=port, peer_namespace=self._fd)
                switch.raise_link(port, master=_BRIDGE)
                inside.add_address("eth0", address, self._range.prefix_length)
                inside.raise_link("eth0")
                inside.add_default_route(gateway)
            finally:
                inside.close()
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            with contextlib.suppress(OSError):
                switch.delete_link(port)
            raise NoNetwork(f"no network for the task: {error}") from error
        self._used.add(number)
        return TaskNetwork(address=address, gateway=gateway, port=port, fd=fd)

    def remove(self, network: TaskNetwork) -> None:
        """Let go of a network whose last process has ended.

        The kernel takes it apart in its own time, links and all: to have it done at once would hold
        up everybody else for some 30 ms.
        """
        os.close(network.fd)
        self._used.discard(int(network.port.removeprefix("port")))

    def close(self) -> None:
        """Take the switch away."""
        if self._switch is not None:
            self.clear()
            self._switch.close()
            os.close(self._fd)
            self._switch = None

    def _open_switch(self, range_text: str) -> Netlink:
        if self._switch is not None and (self._used or self._range_text == range_text):
            return self._switch
        self.close()
        self.clear()
        wanted = Range(range_text).free_block(_read_routes(), own_link=self._link_name)
        switch = self._make_switch(wanted)
        self._range_text = range_text
        return switch

    def _make_switch(self, wanted: Range) -> Netlink:
        with kernel.new_namespace(kernel.CLONE_NEWNET) as fd:
            switch = Netlink()
        host = Netlink()
        try:
            switch.add_bridge(_BRIDGE)
            switch.raise_link(_BRIDGE)
            host.add_veth(self._link_name, hardware=b"", peer=_UPLINK, peer_namespace=fd)
            switch.raise_link(_UPLINK, master=_BRIDGE)
            host.add_address(self._link_name, wanted.address(1), wanted.prefix_length)
            host.add_address(self._link_name, TASK_ENDPOINT_ADDRESS, _HOST_PREFIX_LENGTH)
            host.raise_link(self._link_name)
            if taken := wanted.collision(_read_routes(), own_link=self._link_name):
                # Another yard was as fast: whoever asks next finds another block.
                raise OSError(errno.EADDRINUSE, f"the block {wanted} collides with {taken}")
        except OSError:
            self.clear()
            switch.close()
            os.close(fd)
            raise
        finally:
            host.close()
        self._range, self._switch, self._fd = wanted, switch, fd
        return switch

    def _choose(self, switch: Netlink) -> int:
        """Choose a number for a task: not the network's (0), the gateway's (1), the last one's; nor
        one whose port the kernel has not taken away yet."""
        assert self._range is not None
        count = self._range.size - 3
        for _ in range(count):
            number = 2 + self._next % count
            self._next += 1
            if number not in self._used and not switch.has_link(f"port{number}"):
                return number
        raise ValueError(f"all addresses of {self._range} are in use")


def _read_routes() -> str:
    with open(ROUTES_FILE, encoding="ascii") as file:
        return file.read()
