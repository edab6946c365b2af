"""A session: how a command runs, where it computes, what it keeps compiled, and how a signal stops it."""

import atexit
import contextlib
import gc
import itertools
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from tqdm import tqdm

from jaxmlp import ArgumentError
from jaxmlp.door import DEBUG, HEARD, LOST, one_line, program, tell_error
from jaxmlp.files import others_may_write
from jaxmlp.layers import PRECISIONS
from jaxmlp.registry import unknown_name
from jaxmlp.training.parallel import memory_of

COMPUTED_IN = ("float32", "float64", "tensorfloat32", "bfloat16")
SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))

# Every program is kept, however quickly it was compiled: a run has many small ones.
SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
MAX_SIZE, MOST_ROOM = "jax_compilation_cache_max_size", 256 * 2**20  # bytes; a run leaves less than one MiB


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a command's `main` as a program: whatever is raised becomes one line and a status."""
    # All that is left ends with the process: to look through it for cycles first took a third of a second.
    atexit.register(gc.freeze)
    os.environ["MPLBACKEND"] = "agg"  # no picture is shown, whatever is set
    if "--debug" in sys.argv:
        sys.argv.remove("--debug")
        os.environ[DEBUG] = "1"
    try:
        status = main(None)
    except (Exception, KeyboardInterrupt) as error:
        status = tell_error(error)
    sys.stdout.flush()
    if LOST:
        status = tell_error(OSError(f"standard output cannot be written ({LOST[0].strerror})"))
    if HEARD:
        sys.stderr.flush()
        os._exit(status)  # Python's own end can meet what JAX still computes
    sys.exit(status)


def tell(line: str) -> None:
    """Write a line of the program's own to standard error, above a progress bar if there is one."""
    tqdm.write(f"{program()}: {line}", file=sys.stderr)


def find_device(name: str) -> jax.Device:
    """Find a device by name."""
    try:
        jax.devices()
    except Exception as error:
        raise ArgumentError(f"JAX does not start ({one_line(error)}): see JAX_PLATFORMS") from error
    if name == "auto":
        return jax.local_devices()[0]
    platform, _, number = name.partition(":")
    try:
        if not platform:  # JAX takes an empty name for its own choice
            raise ValueError
        devices = jax.local_devices(backend=platform)
        return devices[int(number or 0)]
    except (RuntimeError, ValueError, IndexError):
        there = ", ".join(sorted({f"{device.platform}:{device.id}" for device in jax.local_devices()}))
        raise ArgumentError(
            f"device '{name}' is not there: this machine has {there}; choose one or auto"
        ) from None


def check_fits(sizes: Sequence[int]) -> None:
    """Refuse a network that its device cannot hold: XLA would abort the program, without a line of ours."""
    parameters = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))
    needed, memory = 3 * 4 * parameters, memory_of(list(jax.device_put(0.0).devices()))
    if memory is not None and needed > memory:
        raise ArgumentError(
            f"a network of sizes {' '.join(map(str, sizes))} has {parameters:,} parameters and needs at least "
            f"{needed / 2**30:,.0f} GiB, this device has {memory / 2**30:,.0f}: choose smaller sizes"
        )


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int) -> None:
    """Make so many CPU cores a device each, which must be said before JAX first computes."""
    with contextlib.suppress(RuntimeError):  # it has computed already: what is there is used
        jax.config.update("jax_num_cpu_devices", count)


@contextlib.contextmanager
def computing(device: str, precision: str) -> Iterator[tuple[str, jax.Device]]:
    """Compute on a device in a precision, inside a `with`; gives the precision of products, and the device found."""
    if precision not in COMPUTED_IN:
        raise unknown_name("precision", precision, COMPUTED_IN)
    found = find_device(device)
    with jax.default_device(found), jax.enable_x64(precision == "float64"):
        yield precision if precision in PRECISIONS else "float32", found


# --- compiled programs ---


def compiled_folder() -> Path:
    """Name the folder of compiled programs; in the user's own, because to load a program is to trust it."""
    return Path.home() / ".cache" / "jaxmlp" / "compiled"


@contextlib.contextmanager
def compilation_cache(wanted: bool) -> Iterator[None]:
    """Keep the programs that are compiled inside a `with`, and take those that were kept before.

    JAX's own variables win. A folder that cannot be read or written costs time and nothing else; where it was
    asked for, a line on standard error says so.
    """
    settings: dict[str, Any] = {} if wanted else {"jax_enable_compilation_cache": False}
    config: Any = jax.config
    if wanted and config.jax_enable_compilation_cache:
        settings = {name: value for name, value in SETTINGS.items() if name.upper() not in os.environ}
        if config.jax_compilation_cache_dir:
            _warn_if_unusable(config.jax_compilation_cache_dir)
        else:
            with contextlib.suppress(RuntimeError, OSError):  # there is no home, or it cannot be written
                folder = compiled_folder()
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(0o700, exist_ok=True)
                if others_may_write(folder):
                    tell(f"{folder} is not used, as others may write programs into it: delete it")
                else:
                    settings |= {"jax_compilation_cache_dir": str(folder), MAX_SIZE: MOST_ROOM}
                    _heal(folder)
    before = {name: getattr(config, name) for name in settings}
    _apply(settings)
    try:
        with warnings.catch_warnings():
            # JAX warns once a program of a folder that it cannot read or write, and goes on without it.
            warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
            yield
    finally:
        _apply(before)


def _apply(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    if settings:
        reset_cache()  # JAX looks at its settings once, when it first compiles


def _heal(folder: Path) -> None:
    """Remove programs without a time stamp, of a run that was killed between the two: JAX would keep no other."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*-cache"):
            if not path.with_name(path.name.removesuffix("cache") + "atime").exists():
                path.unlink()


def _warn_if_unusable(asked: str) -> None:
    """Say that JAX, which is silent on it, will keep nothing in the folder that was asked for."""
    if "://" in asked:  # a bucket, which JAX reaches by means of its own
        return
    try:
        Path(asked).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=asked):
            pass
    except OSError as error:
        tell(
            f"JAX_COMPILATION_CACHE_DIR {asked} cannot be written ({error.strerror}): compiled programs are not "
            "kept; set it to a folder of yours, or unset it"
        )


# --- signals ---


class Interruption:
    """Whether a signal has asked to stop, and which.

    Attributes:
        signal: the signal; None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def status(self) -> int:
        """The exit status by which shells tell a program that a signal ended."""
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def interruption(advice: str = "") -> Iterator[Interruption]:
    """Note SIGINT, SIGTERM and SIGHUP inside a `with`; a second one ends the process at once.

    Both are heard by a thread: Python's own handlers wait until the compiled program that computes an epoch returns.
    """
    asked = Interruption()
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    thread = threading.Thread(target=_listen, args=(heard, asked, advice), daemon=True)
    thread.start()
    # Python writes the number of every signal that has a handler here, before it runs the handler.
    descriptor = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:  # as of nohup, or of a job in the background
            signal.signal(number, lambda number, frame: None)
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()
        thread.join()
        heard.close()


def _listen(heard: socket.socket, asked: Interruption, advice: str) -> None:
    while byte := heard.recv(1):
        if byte[0] not in SIGNALS:
            continue
        number = signal.Signals(byte[0])
        if asked.signal is None:
            asked.signal = number
            _say(f"{number.name}: ending after this epoch; once more ends at once")
        else:
            _say(f"{number.name} once more: ended at once{'; ' if advice else ''}{advice}")
            os._exit(128 + number)  # all files are whole at any moment, or cleared up by the next run


def _say(text: str) -> None:
    line = f"{program()}: {text}\n"
    # Not by `print`, which the other thread may be in; on a terminal a bar or "^C" stands in the line already.
    with contextlib.suppress(OSError):
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{line}".encode())
