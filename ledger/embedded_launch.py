"""Start a program of the embedded Postgres: as another user if asked, ended when its parent ends. Run as a script.

`python -I -S embedded_launch.py <uid or -1> <gid> <parent's pid> <program> [argument …]`. Only the standard library,
and no `preexec_fn`: that would run between fork and exec of a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(uid: int, gid: int, parent: int, command: list[str]) -> None:
    """Become `command`. The order matters: Linux forgets the parent-death signal when the user changes."""
    os.umask(0o077)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # SIGINT is Postgres's fast shutdown: connections end, a checkpoint is written.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
