"""A machine of the run's own: its mounts, a second network, clocks. All of it ends with the last process that is in it.

Root makes them directly; another user within a user namespace, where the system allows one. What cannot be had is named in
`Machine.lacks`, with the reason, and the faults that need it are left out.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_REMOUNT, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20, 0x4000, 0x40000, 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
# Room for a file system's own bookkeeping in what is called full.
SLACK_BYTES = 64 * 1024
FAKETIME = ("libfaketime.so.1", "faketime/libfaketime.so.1")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class Disk:
    """A small file system of its own in memory, which can be full."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Moves what is in the directory onto it."""
        self.path, self._size = path, size_bytes
        before = path.with_name(f"{path.name}.before")
        path.rename(before)
        path.mkdir()
        _call("mount", b"none", bytes(path), b"tmpfs", 0, f"size={size_bytes}".encode())
        subprocess.run(["cp", "-a", f"{before}/.", str(path)], check=True)
        shutil.copystat(before, path)
        os.chown(path, before.stat().st_uid, before.stat().st_gid)
        shutil.rmtree(before)

    def fill(self) -> None:
        """From now on nothing more can be written. Raises `OSError` where as much was written meanwhile."""
        found = os.statvfs(self.path)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self._resize(used + SLACK_BYTES)

    def free(self) -> None:
        """It has the room again that it had."""
        self._resize(self._size)

    def _resize(self, size_bytes: int) -> None:
        _call("mount", b"none", bytes(self.path), b"tmpfs", MS_REMOUNT, f"size={size_bytes}".encode())


class Clock:
    """What the processes that were started with `environment` take for the time of day. Durations stay true.

    Not a Java machine: under libfaketime its threads wait for ever. Kafka's client asks libfaketime for the time, and the
    system to wait until then: ahead by an hour it stands still, which it would not do if the system's clock were ahead;
    behind by one, it does not wait at all, and a client that is made then does not work: for a minute the interpreter does
    nothing else, and does not see what the clock does meanwhile.
    """

    def __init__(self, file: Path, library: Path | None) -> None:
        self._file = file
        self.is_behind = False
        self.set(0)
        self.environment: dict[str, str] = {}
        if library is not None:
            self.environment = {
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DISABLE_SHM": "1",
                "NO_FAKE_STAT": "1",
            }

    def set(self, ahead_seconds: int) -> None:
        """Sets it so far ahead of the true time; negative is behind. Seen within a second."""
        self.is_behind = ahead_seconds < 0
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_seconds:+d}\n")
        new.chmod(0o644)
        new.rename(self._file)


class Network:
    """A network with nothing but a loopback interface, beside that of the others."""

    def __init__(self) -> None:
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _call("unshare", CLONE_NEWNET)
        self._inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with socket.socket() as probe:
            asked = struct.pack("16sh14x", b"lo", 0)
            flags = struct.unpack("16sh14x", fcntl.ioctl(probe, SIOCGIFFLAGS, asked))[1]
            fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
        _call("setns", self._outside, CLONE_NEWNET)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread's new sockets and processes belong to it."""
        _call("setns", self._inside, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", self._outside, CLONE_NEWNET)


class Machine:
    """To be made before any thread is."""

    def __init__(self, root: Path) -> None:
        self.lacks: dict[str, str] = {}
        self.network: Network | None = None
        self._mounts = False
        self._disks: list[Disk] = []
        try:
            if os.geteuid() != 0:
                _become_owner()
            _call("unshare", CLONE_NEWNS)
            _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            self._mounts = True
            self.network = Network()
        except OSError as error:
            self.lacks["full disks and a faulty network"] = f"no namespaces: {error}"
        library = faketime()
        if library is None:
            self.lacks["clocks that jump"] = "libfaketime is not installed (Debian: apt-get install faketime)"
        self.database_clock = Clock(root / "clock.database", library)
        self.second_clock = Clock(root / "clock.second", library)

    def leave(self) -> None:
        """Takes the mounts away, so that what lies under them can be removed."""
        for disk in self._disks:
            _call("umount2", bytes(disk.path), MNT_DETACH)

    def disk(self, path: Path, size_bytes: int) -> Disk | None:
        """The directory on a file system of its own; None where there can be none."""
        if not self._mounts:
            return None
        self._disks.append(Disk(path, size_bytes))
        return self._disks[-1]


def _become_owner() -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def faketime() -> Path | None:
    """The library, where it is installed."""
    directories = [Path("/usr/lib64"), Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-gnu")]
    found = [directory / name for directory in directories for name in FAKETIME]
    return next((file for file in found if file.exists()), None)
