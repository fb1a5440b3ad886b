"""What no file may bring minast to do, watched by an audit hook, and how much memory it may take.

Source: PEP 578; the events are listed in Python's documentation, "Audit events table".
"""

import os
import resource
import sys

FORBIDDEN = (
    "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill",
    "socket.", "pty.", "urllib.", "ftplib.", "http.", "smtplib.", "webbrowser.", "pickle.find_class", "ctypes.dlopen",
)  # fmt: skip
CHANGING = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MORE = 2 * 2**30  # bytes of address space beyond what the worker has when it is ready


class Forbidden(BaseException):
    """Raised inside a case by what it must not do; no `except Exception` swallows it."""


class Guard:
    """Between `watch` and `leave`, what happens outside of the folder is noted in `seen` and stopped."""

    def __init__(self, folder):
        self.folder, self.on, self.seen = os.path.realpath(folder) + os.sep, False, []
        sys.addaudithook(self._hook)

    def watch(self):
        self.seen, self.on = [], True

    def leave(self):
        self.on = False
        return self.seen

    def _hook(self, event, arguments):
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            bad = (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITING)
            bad = bad and not self._inside(path)
        else:
            bad = event.startswith(FORBIDDEN) or (event in CHANGING and not all(map(self._inside, arguments[:1])))
        if bad:
            self.on = False  # the message is made in peace
            self.seen.append(f"{event} {str(arguments)[:200]}")
            raise Forbidden(self.seen[-1])

    def _inside(self, path):
        if isinstance(path, int):
            return True
        return os.path.realpath(os.fsdecode(path)).startswith(self.folder) or path == os.devnull


def limit_memory():
    """No more than `MORE` beyond what is there: a claim of a terabyte is a MemoryError and not a dead machine."""
    size = status("VmSize") + MORE
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def status(name):
    """A number of bytes from /proc/self/status: VmSize, VmRSS or VmHWM, the peak."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def forget_peak():
    """VmHWM counts from now on.   -> bytes in memory now"""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return status("VmRSS")
