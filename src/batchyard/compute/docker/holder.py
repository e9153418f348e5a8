"""The image of the container that holds what a task's containers share.

A network, a namespace of processes or of IPC objects ends with the container that it belongs to,
and any container of a task may end first. So a task that shares one gets a container more, whose
only process waits for ever. No image with such a process can be counted on where there is no
registry, so it is made here: a program of a few instructions, for the two kinds of machine that
engines run on.

The program ignores the end of its children, so that the kernel buries what is left to it as the
first process of a namespace; and then pauses. As first process it is deaf to SIGTERM: it is removed
by force. Sources: signal(7), "Linux system call table" of x86-64 and arm64, ELF-64 object file
format.
"""

import hashlib
import io
import json
import struct
import tarfile
from typing import Final

HOLDER_IMAGE: Final = "localhost/batchyard-holder:1"
HOLDER_COMMAND: Final = "/hold"

_BASE: Final = 0x400000
_ELF_HEAD: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEAD: Final = struct.Struct("<IIQQQQQQ")
_HEADS_SIZE: Final = _ELF_HEAD.size + _PROGRAM_HEAD.size
#: `struct sigaction` with SIG_IGN: handler, flags, restorer, mask.
_IGNORE: Final = struct.pack("<QQQQ", 1, 0, 0, 0)

#: rt_sigaction(SIGCHLD, &ignore, 0, 8), then pause() for ever. `ignore` follows the code.
_X86_64: Final = bytes.fromhex(
    "b80d000000"  # mov    eax, 13 (rt_sigaction)
    "bf11000000"  # mov    edi, 17 (SIGCHLD)
    "488d351a000000"  # lea    rsi, [rip+26] (ignore)
    "31d2"  # xor    edx, edx
    "41ba08000000"  # mov    r10d, 8
    "0f05"  # syscall
    "b822000000"  # mov    eax, 34 (pause)
    "0f05"  # syscall
    "ebf7"  # jmp    back to mov eax, 34
    "90909090909090"  # nop
)
#: The same with ppoll(0, 0, 0, 0), as arm64 has no pause.
_ARM64: Final = struct.pack(
    "<12I",
    0xD2800220,  # mov  x0, 17 (SIGCHLD)
    0x10000161,  # adr  x1, +44 (ignore)
    0xD2800002,  # mov  x2, 0
    0xD2800103,  # mov  x3, 8
    0xD28010C8,  # mov  x8, 134 (rt_sigaction)
    0xD4000001,  # svc  0
    0xD2800000,  # mov  x0, 0
    0xD2800001,  # mov  x1, 0
    0xD2800003,  # mov  x3, 0
    0xD2800928,  # mov  x8, 73 (ppoll)
    0xD4000001,  # svc  0
    0x17FFFFFB,  # b    -20 (to mov x0, 0)
)
#: By Go's name of the architecture: ELF's number of the machine, and the code.
_CODE: Final = {"amd64": (62, _X86_64), "arm64": (183, _ARM64)}


class NoHolder(Exception):
    """There is no program for this kind of machine."""


def holder_archive(architecture: str) -> bytes:
    """Give the image as a docker-archive. Raises `NoHolder`."""
    layer = _tar({HOLDER_COMMAND.removeprefix("/"): _program(architecture)})
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": [HOLDER_COMMAND]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [HOLDER_IMAGE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "manifest.json": json.dumps(manifest).encode(),
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
        }
    )


def _program(architecture: str) -> bytes:
    """Give an ELF file of one segment, whose code begins after the heads."""
    if architecture not in _CODE:
        raise NoHolder(f"containers of one task cannot share on {architecture} machines")
    machine, code = _CODE[architecture]
    size = _HEADS_SIZE + len(code) + len(_IGNORE)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    # Type: executable. One program head, right after; no section heads.
    head = _ELF_HEAD.pack(
        ident,
        *(2, machine, 1, _BASE + _HEADS_SIZE, _ELF_HEAD.size, 0),
        *(0, _ELF_HEAD.size, _PROGRAM_HEAD.size, 1, 0, 0, 0),
    )
    # Loaded, to be read and executed, the whole file.
    segment = _PROGRAM_HEAD.pack(1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return head + segment + code + _IGNORE


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
