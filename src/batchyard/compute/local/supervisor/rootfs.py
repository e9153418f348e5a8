"""What a container's root file system says: who a user is, and where a path really leads.

Owns path resolution that cannot leave the root (symbolic links of an image are not to be trusted),
and docker's forms of `user`. Refuses to know how the root came to be mounted. Nothing runs in the
container while these functions look at it, so there is nobody to race with.
"""

import os
import stat

_LINKS_MAX = 40
_ID_DIGITS_MAX = 10
#: Fields of the lines of passwd and group, from 0.
_PASSWD_HOME = 5
_GROUP_MEMBERS = 3


class BadUser(Exception):
    """The image does not know the user or group; the text says which."""


class Accounts:
    """The users and groups of an image, read once. Lines with impossible numbers are left out."""

    __slots__ = ("groups", "users")

    def __init__(self, passwd: str, group: str) -> None:
        #: name -> (uid, gid, home)
        self.users: dict[str, tuple[int, int, str]] = {}
        #: name -> (gid, member names)
        self.groups: dict[str, tuple[int, list[str]]] = {}
        for line in passwd.splitlines():
            parts = line.split(":")
            if len(parts) > _PASSWD_HOME and _is_number(parts[2]) and _is_number(parts[3]):
                self.users.setdefault(parts[0], (int(parts[2]), int(parts[3]), parts[_PASSWD_HOME]))
        for line in group.splitlines():
            parts = line.split(":")
            if len(parts) > _GROUP_MEMBERS and _is_number(parts[2]):
                self.groups.setdefault(parts[0], (int(parts[2]), parts[_GROUP_MEMBERS].split(",")))


class Identity:
    """Whom a process runs as."""

    __slots__ = ("additional_gids", "gid", "home", "uid")

    def __init__(self, *, uid: int, gid: int, home: str, additional_gids: list[int]) -> None:
        self.uid = uid
        self.gid = gid
        self.home = home
        self.additional_gids = additional_gids


def resolve_in_root(root: str, path: str) -> str:
    """Give the host's path for `path` inside `root`, following links as a process inside would.

    Components that do not exist are kept as they are. Raises `OSError` for too many links.
    """
    todo = [part for part in path.split("/") if part]
    done: list[str] = []
    link_count = 0
    while todo:
        part = todo.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([root, *done, part])
        try:
            target = os.readlink(here)
        except OSError:
            done.append(part)
            continue
        link_count += 1
        if link_count > _LINKS_MAX:
            raise OSError(40, "Too many levels of symbolic links", path)
        if target.startswith("/"):
            done = []
        todo = [piece for piece in target.split("/") if piece] + todo
    return "/".join([root, *done])


def read_in_root(root: str, path: str) -> str:
    """Read a regular file inside the root; empty if there is none."""
    try:
        real = resolve_in_root(root, path)
        if not stat.S_ISREG(os.lstat(real).st_mode):
            return ""
        with open(real, encoding="utf-8", errors="replace") as file:
            return file.read(4 * 1024 * 1024)
    except OSError:
        return ""


def read_accounts(root: str) -> Accounts:
    """Read `/etc/passwd` and `/etc/group` of the root."""
    return Accounts(read_in_root(root, "/etc/passwd"), read_in_root(root, "/etc/group"))


def ensure_directory(root: str, path: str) -> str:
    """Make the directory `path` inside the root if it is missing; give the host's path of it."""
    real = resolve_in_root(root, path)
    os.makedirs(real, exist_ok=True)
    return real


def identify(accounts: Accounts, user: str) -> Identity:
    """Resolve `user`, `uid`, `user:group`, `uid:gid`, … as docker does; an empty text is root.

    Raises `BadUser`.
    """
    name, has_group, group = (user or "0").partition(":")
    if name in accounts.users:
        uid, gid, home = accounts.users[name]
    elif _is_number(name):
        uid, gid, home = int(name), 0, "/"
        for known_name, (known_uid, known_gid, known_home) in accounts.users.items():
            if known_uid == uid:
                name, gid, home = known_name, known_gid, known_home
                break
    else:
        raise BadUser(f"unable to find user {name}: no matching entries in passwd file")
    if not has_group or not group:
        members = [g for g, names in accounts.groups.values() if name in names]
        return Identity(uid=uid, gid=gid, home=home or "/", additional_gids=members)
    if group in accounts.groups:
        gid = accounts.groups[group][0]
    elif _is_number(group):
        gid = int(group)
    else:
        raise BadUser(f"unable to find group {group}: no matching entries in group file")
    return Identity(uid=uid, gid=gid, home=home or "/", additional_gids=[])


def _is_number(text: str) -> bool:
    """Tell whether a text is the number of a user or group; docker's range of them."""
    is_short = len(text) <= _ID_DIGITS_MAX and text.isascii()
    return is_short and text.isdigit() and int(text) < 2**31
