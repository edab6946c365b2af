"""Faults of the disk that a run of train.py must survive: full, deleted, not to be written."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_bench import Bench, Finding, Skipped, find, resume
from fault_runs import begin_flags, kept_in, left_by, run_to_end, running

from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CHECKPOINTS

CLOSED = 0o555  # nobody may write
# A row of the table and a checkpoint, in either order, and the result.
UNWRITTEN = ("could not be written", "could not be written", "the result could not be written")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system of 2 MiB inside a `with`; yields whether this system lets us."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


def full_disk(bench: Bench) -> Finding:
    """A disk that is full"""
    disk = bench.folder / "disk"
    with small_disk(disk) as mounted:
        run, ballast = disk / "run", disk / "ballast"
        with running(run, begin_flags(run)) as begun:
            begun.wait_for_checkpoint()
            if mounted:
                how = "a file system of 2 MiB, which another file fills after the first checkpoint"
                fill(ballast)
            else:
                how = "no file may grow beyond 200 bytes after the first checkpoint, as mounting is not permitted here"
                resource.prlimit(begun.process.pid, resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
            ended = begun.end()
        kept = kept_in(run)
        ballast.unlink(missing_ok=True)
        after, problem = resume(bench, run, ["going on after epoch"])
    reason = "No space left on device" if mounted else "File too large"
    told = None if all(reason in line for line in ended.err) else f"a line does not say '{reason}'"
    return find(
        how, ended, kept, status=2, said=UNWRITTEN, after=f"with room again, {after}", wrong=[problem, told]
    )


def fill(ballast: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def folder_deleted(bench: Bench) -> Finding:
    """A run folder that is deleted while running"""
    run = bench.folder / "run"
    with running(run, begin_flags(run)) as begun:
        begun.wait_for_checkpoint()
        while run.exists():  # the run may just be writing into it
            shutil.rmtree(run, ignore_errors=True)
        ended = begun.end()
    same = left_by(run) == bench.alone
    return find(
        "the folder is deleted after the first checkpoint",
        ended,
        kept_in(run) + ("; model and table as of the run left alone" if same else ""),
        status=0,
        said=["is gone: nothing is saved until the training has ended"],
        wrong=[None if same else "model or table are not those of the run left alone"],
    )


def bound_by_rights() -> dict[str, Any]:
    """Say to `running` to run as somebody whom rights bind; root may write everywhere.

    Raises:
        Skipped: root cannot be bound here.
    """
    if os.geteuid() != 0:
        return {}
    prefix = ["setpriv", "--bounding-set=-dac_override"]
    try:
        subprocess.run([*prefix, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skipped("root may write everywhere, and setpriv cannot take that right from it here") from None
    return {"prefix": prefix}


def folder_read_only(bench: Bench) -> Finding:
    """A folder that is read-only from the start"""
    user = bound_by_rights()
    closed = bench.folder / "closed"
    closed.mkdir()
    closed.chmod(CLOSED)
    ended = run_to_end(closed / "run", begin_flags(closed / "run"), **user)
    return find(
        "--out names a folder within one that this user may not write",
        ended,
        "nothing was begun" if not (closed / "run").exists() else "a folder",
        status=2,
        said=["cannot be written (Permission denied): choose another with --out"],
    )


def folder_closed(bench: Bench) -> Finding:
    """A folder that becomes read-only while running"""
    user = bound_by_rights()
    run = bench.folder / "run"
    with running(run, begin_flags(run), **user) as begun:
        begun.wait_for_checkpoint()
        for path, mode in ((run / METRICS, 0o444), (run / CHECKPOINTS, CLOSED), (run, CLOSED)):
            path.chmod(mode)
        ended = begun.end()
    kept = kept_in(run)
    for path, mode in ((run, 0o755), (run / CHECKPOINTS, 0o755), (run / METRICS, 0o644)):
        path.chmod(mode)
    after, problem = resume(bench, run, ["going on after epoch"], **user)
    return find(
        "the right to write is taken from folder and files after the first checkpoint",
        ended,
        kept,
        status=2,
        said=UNWRITTEN,
        after=f"writable again, {after}",
        wrong=[problem],
    )
