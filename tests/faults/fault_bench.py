"""Where a fault is made to happen, and what is held against what should have come of it."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fault_runs import Ended, begin_flags, left_by, run_to_end
from survival import End

from jaxmlp import ArgumentError
from jaxmlp.cli.run import MODEL


class Skipped(Exception):
    """A fault cannot be made to happen on this system; says why."""


class Bench(NamedTuple):
    """Where faults are made.

    Attributes:
        folder: of this fault alone.
        run: the folder of the run left alone.
        alone: how that run ended.
    """

    folder: Path
    run: Path
    alone: End


class Finding(NamedTuple):
    """What came of a fault.

    Attributes:
        how: it was made to happen.
        ended: the run that it happened to.
        kept: what the run folder held then.
        after: what became of it, as by --resume.
        wrong: what is not as it should be.
    """

    how: str
    ended: Ended
    kept: str
    after: str
    wrong: tuple[str, ...]


def find(
    how: str,
    ended: Ended,
    kept: str,
    *,
    status: int,
    said: Sequence[str],
    after: str = "",
    wrong: Sequence[str | None] = (),
) -> Finding:
    """Hold what came of a fault against what should.

    Args:
        how: it was made to happen.
        ended: the run that it happened to.
        kept: what was kept.
        status: the exit status that it should have.
        said: a part of each line that should be on standard error, in their order, and no line besides.
        after: what became of it.
        wrong: what else is not as it should be; None for nothing.

    Returns:
        The finding.
    """
    found = [text for text in wrong if text is not None]
    if ended.status != status:
        found.append(f"exit status {ended.status}, not {status}")
    if len(ended.err) != len(said) or not all(
        part in line for part, line in zip(said, ended.err, strict=False)
    ):
        found.append(f"standard error is not the {len(said)} lines with {', '.join(map(repr, said))}")
    return Finding(how, ended, kept, after, tuple(found))


def resume(bench: Bench, run: Path, said: Sequence[str], **process: Any) -> tuple[str, str | None]:
    """Go on with a run, and compare its end with that of the run left alone.

    Args:
        bench: with the run left alone.
        run: the run folder.
        said: a part of each line that should be on standard error.
        process: further arguments of `running`.

    Returns:
        What came of it, and what is wrong with that.
    """
    ended = run_to_end(run, ["--resume", str(run)], **process)
    same = left_by(run) == bench.alone
    compared = "bit-identical to" if same else "NOT THE SAME AS"
    told = f"--resume: exit status {ended.status}, {compared} the run left alone"
    checked = find("", ended, "", status=0, said=said, wrong=[None if same else "it ended differently"])
    problem = f"--resume: {'; '.join(checked.wrong)}" if checked.wrong else None
    return "\n".join([told, *ended.err]), problem


def copy_of(bench: Bench) -> Path:
    """Copy the run left alone, less its model, as it was after its last checkpoint."""
    run = bench.folder / "run"
    shutil.copytree(bench.run, run)
    (run / MODEL).unlink()
    return run


@contextlib.contextmanager
def benches() -> Iterator[Callable[[str], Bench]]:
    """Make a folder for each fault inside a `with`, after a run left alone.

    Yields:
        Name of a fault -> its bench.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = folder / "alone"
        ended = run_to_end(alone, begin_flags(alone))
        end = left_by(alone)
        if ended.status or ended.err or end is None:
            raise ArgumentError(f"train.py, left alone, ended with {ended.status}: {' '.join(ended.err)}")

        def bench(fault: str) -> Bench:
            (folder / fault).mkdir()
            return Bench(folder / fault, alone, end)

        yield bench
