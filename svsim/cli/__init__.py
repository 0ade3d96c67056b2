"""The command line: ``svsim COMMAND``.

``entry`` runs a command and turns whatever happens into an exit code and at most one line; ``app`` holds what
all commands share, ``paths`` what outputs may not destroy, ``output`` where results go, the other modules the
commands. Heavy imports happen inside commands, so that ``svsim --help`` is instant; this file imports next to
nothing, so that Ctrl-C is understood from the first moment.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130


class Interrupts:
    """Ctrl-C as a KeyboardInterrupt that nobody can lose, until the process ends.

    ``seen``: it came. A library may turn the exception into another (an import that fails), or Python may
    drop it (in a destructor); then it is sent once more.
    """

    def __init__(self) -> None:
        self.seen = False
        in_main = threading.current_thread() is threading.main_thread()
        self._is_ours = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_ours:  # not under nohup
            signal.signal(signal.SIGINT, self._raise)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._send_again

    def ignore(self) -> None:
        """The work is done: what is left is to say how it went, and to end."""
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _raise(self, _: int, __: FrameType | None) -> NoReturn:
        self.seen = True
        raise KeyboardInterrupt

    def _send_again(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
        elif not self.seen:
            self._hook(unraisable)


def main() -> NoReturn:
    """Entry point: one line on stderr and the right exit code instead of tracebacks."""
    # Small matrices only: threads would cost more than they give. Must precede the import of NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    interrupts = Interrupts()
    code = EXIT_INTERRUPTED
    try:
        from svsim.cli.entry import finish, run

        code = run(sys.argv[1:])
        interrupts.ignore()
        code = finish(code)
    except BaseException:
        interrupts.ignore()
        if not interrupts.seen:
            raise
    if interrupts.seen:
        code = EXIT_INTERRUPTED
        _say_interrupted()
    sys.exit(code)


def _say_interrupted() -> None:
    try:
        sys.stderr.write("svsim: interrupted\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stderr any more
        pass
