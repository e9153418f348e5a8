"""The kernel's network settings by rtnetlink: links, addresses, one route.

Owns the layout of the messages (rtnetlink(7), netlink(7)) and the translation of a refusal into
`OSError`. Refuses to know what a link is for. A `Netlink` speaks for the network namespace in which
it was made, for ever.
"""

from __future__ import annotations

import os
import socket
import struct

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE = 16, 17, 18, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR = 2
_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY = 5
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 3, 0, 1
_ANSWER_BYTES = 65536


class Netlink:
    """A conversation with the kernel about the links of one network namespace."""

    __slots__ = ("_number", "_socket")

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._number = 0

    def close(self) -> None:
        self._socket.close()

    def add_bridge(self, name: str) -> None:
        info = _attribute(_INFO_KIND, b"bridge\0")
        body = _link() + _name(name) + _attribute(_IFLA_LINKINFO, info)
        self._ask(_NEWLINK, body, _CREATE | _EXCL)

    def add_veth(self, name: str, *, hardware: bytes, peer: str, peer_namespace: int) -> None:
        """Make a pair: one end here, its peer in the namespace of a descriptor."""
        there = _attribute(_IFLA_NET_NS_FD, struct.pack("=i", peer_namespace))
        data = _attribute(_VETH_PEER, _link() + _name(peer) + there)
        info = _attribute(_INFO_KIND, b"veth\0") + _attribute(_INFO_DATA, data)
        body = _link() + _name(name) + _attribute(_IFLA_LINKINFO, info)
        if hardware:
            body += _attribute(_IFLA_ADDRESS, hardware)
        self._ask(_NEWLINK, body, _CREATE | _EXCL)

    def delete_link(self, name: str) -> None:
        """Delete a link and, of a pair, its peer wherever that is. Raises `FileNotFoundError`."""
        self._ask(_DELLINK, _link(self.index_of(name)))

    def raise_link(self, name: str, *, master: str = "") -> None:
        """Switch a link on, as a port of `master` if given."""
        body = _link(self.index_of(name), flags=_IFF_UP)
        if master:
            body += _attribute(_IFLA_MASTER, struct.pack("=I", self.index_of(master)))
        self._ask(_NEWLINK, body)

    def add_address(self, name: str, address: str, prefix_length: int) -> None:
        data = socket.inet_aton(address)
        body = _ADDRESS.pack(socket.AF_INET, prefix_length, 0, 0, self.index_of(name))
        body += _attribute(_IFA_LOCAL, data) + _attribute(_IFA_ADDRESS, data)
        self._ask(_NEWADDR, body, _CREATE | _EXCL)

    def add_default_route(self, gateway: str) -> None:
        body = _ROUTE.pack(
            socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0
        )
        body += _attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
        self._ask(_NEWROUTE, body, _CREATE | _EXCL)

    def index_of(self, name: str) -> int:
        """Give the number of a link. Raises `OSError` if there is none."""
        answer = self._ask(_GETLINK, _link() + _name(name))
        return int(_LINK.unpack_from(answer)[2])

    def has_link(self, name: str) -> bool:
        try:
            return self.index_of(name) > 0
        except OSError:
            return False

    def _ask(self, kind: int, body: bytes, flags: int = 0) -> bytes:
        """Send a request; return what the answer holds, which is nothing for all but `_GETLINK`."""
        self._number += 1
        flags |= _REQUEST | (0 if kind == _GETLINK else _ACK)
        head = _HEAD.pack(_HEAD.size + len(body), kind, flags, self._number, 0)
        self._socket.send(head + body)
        while True:
            data = self._socket.recv(_ANSWER_BYTES)
            _, answer_kind, _, number, _ = _HEAD.unpack_from(data)
            if number != self._number:
                continue
            if answer_kind == _ERROR:
                code = -int(struct.unpack_from("=i", data, _HEAD.size)[0])
                if code:
                    raise OSError(code, os.strerror(code))
                return b""
            return data[_HEAD.size :]


def _link(index: int = 0, *, flags: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)
