"""The outermost door of the commands: whatever is raised, and Ctrl-C, end a command with one line and a status.

It is imported before every library, because to import them is a good part of a short run.
"""

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from typing import Any

USAGE_ERROR, INTERRUPTED = 2, 130  # 130 is 128 + SIGINT, as shells tell it
DEBUG = "JAXMLP_DEBUG"
LONGEST, LEAST = 800, 2**31  # characters of a line; bytes of memory to address
# What the user or the machine can set right besides an ArgumentError; the last two where a library does not start.
SETTABLE = (OSError, MemoryError, UnicodeError, RuntimeError, ImportError)
HEARD: list[int] = []  # signals that asked to stop
CLOSED: list[int] = []  # standard output, where it was closed when the program began
LOST: list[OSError] = []  # why standard output did not take all; that nobody reads it any more is no reason


class _Dropping(io.FileIO):
    """The file of a standard stream, which drops what it cannot take: that ends nothing."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            LOST.extend([error] if self.fileno() == 1 and error.errno != errno.EPIPE else [])
            return len(data)


def program() -> str:
    """Name the program that is running, as its messages begin: `jaxmlp train`, or `train.py`."""
    return "python -m jaxmlp" if sys.argv[0] == "-m" else os.path.basename(sys.argv[0])


def one_line(error: BaseException) -> str:
    """Say what went wrong in one line; it begins with that and ends with what to do, and is cut between them."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    text, half = " ".join(text.split()), LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def tell_error(error: BaseException, settable: tuple[type[BaseException], ...] = SETTABLE) -> int:
    """Tell of an error in one line, below its traceback where that is asked for; returns the exit status."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    told = getattr(sys.modules.get("jaxmlp.types"), "ArgumentError", OSError)
    line, status = one_line(error), USAGE_ERROR
    if HEARD or isinstance(error, KeyboardInterrupt):  # a library can make another error of it
        line, status = "interrupted", INTERRUPTED
    elif not isinstance(error, (told, *settable)):
        line, status = f"a defect of jaxmlp, {error!r:.300}; --debug shows where: report it", 1
    print(f"{program()}: {line}", file=sys.stderr)
    return status


def interrupt(number: int, frame: Any = None) -> None:
    """Raise KeyboardInterrupt, for what is open to be cleared up; the second time end at once."""
    HEARD.append(number)
    if len(HEARD) > 1:
        os.write(2, f"{program()}: interrupted\n".encode())
        os._exit(128 + number)  # all files are whole at any moment, or cleared up by the next run
    raise KeyboardInterrupt


def stand_by() -> None:
    """Stand at the door of a program of ours while it imports; any other program is left as it is."""
    path, ours = os.path.realpath((sys.argv or [""])[0]), os.path.dirname(os.path.dirname(__file__))
    if not (
        os.path.basename(path) in ("jaxmlp", "jaxmlp.exe")
        or (sys.argv[:1] == ["-m"] and "jaxmlp" in sys.orig_argv)
        or path.startswith(os.path.join(ours, "experiments", ""))
    ):
        return
    while (free := os.open(os.devnull, os.O_RDWR)) < 3:  # no file of ours takes the number of a closed stream
        CLOSED.extend([free] if free == 1 else [])
    os.close(free)
    for name, number in (("stdout", 1), ("stderr", 2)):
        buffered, is_shown = io.BufferedWriter(_Dropping(number, "w", closefd=False)), os.isatty(number)
        encoding = getattr(getattr(sys, name), "encoding", "utf-8") if is_shown else "utf-8"
        at_once = is_shown or number == 2 or "PYTHONUNBUFFERED" in os.environ
        setattr(sys, name, io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=at_once))
    with contextlib.suppress(ImportError):  # of Windows
        import resource

        room = resource.getrlimit(resource.RLIMIT_AS)[0]
        if 0 <= room < LEAST:  # XLA would abort
            sys.exit(tell_error(MemoryError(f"ulimit -v leaves {room >> 20} MiB: JAX needs {LEAST >> 20}")))
    sys.excepthook = lambda kind, error, trace: os._exit(tell_error(error, (Exception,)))
    # KeyboardInterrupt too can be raised where Python has nobody to hand it to.
    sys.unraisablehook = lambda given: interrupt(HEARD[0]) if HEARD else sys.__unraisablehook__(given)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


stand_by()
