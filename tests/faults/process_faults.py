"""Faults of a run of train.py as a process: its numbers, signals, another run in its folder, the clock."""

import os
import signal

import jax
import numpy as np
from fault_bench import Bench, Finding, find, resume
from fault_runs import RUN, begin_flags, interrupt, kept_in, left_by, rows_in, run_to_end, running

from jaxmlp import load_model
from jaxmlp.cli.records import METRICS
from jaxmlp.cli.run import CHECKPOINTS, MODEL
from jaxmlp.saving import checkpoints_in, latest_checkpoint


def loss_not_finite(bench: Bench) -> Finding:
    """A loss that becomes infinite or NaN"""
    run = bench.folder / "run"
    ended = run_to_end(run, begin_flags(run, {"learning-rate": 1, "schedule": "exponential:1e5"}))
    saved = latest_checkpoint(run / CHECKPOINTS)[0] if checkpoints_in(run / CHECKPOINTS) else None
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(load_model(run / MODEL)[1]))
    return find(
        "--learning-rate 1, multiplied by 100,000 every epoch",
        ended,
        kept_in(run) + ("; the model is finite" if finite else ""),
        status=1,
        said=["the loss or a parameter became NaN or infinite; the parameters before it are kept"],
        wrong=[
            None if finite else "the model is not finite",
            None if saved and saved.epoch == rows_in(run) - 1 else "the epoch before is not saved",
        ],
    )


def two_runs(bench: Bench) -> Finding:
    """Two runs in one folder"""
    run = bench.folder / "run"
    with running(run, begin_flags(run)) as begun:
        begun.wait_for_checkpoint()
        begun.process.send_signal(signal.SIGSTOP)  # so that it is there as long as the others take
        second = run_to_end(run, ["--resume", str(run)])
        third = run_to_end(run, begin_flags(run))
        begun.process.send_signal(signal.SIGCONT)
        first = begun.end()
    same = left_by(run) == bench.alone
    checked = find("", third, "", status=2, said=["holds a run already: choose another folder with --out"])
    return find(
        "a second process with --resume, a third with --out, while the first has not ended",
        second,
        kept_in(run),
        status=2,
        said=["is in use by a run that has not ended: wait for it or stop it, or begin another with --out"],
        after="\n".join(
            [
                f"the third: exit status {third.status}",
                *third.err,
                f"the first: exit status {first.status}, {'as the' if same else 'NOT AS THE'} run left alone",
            ]
        ),
        wrong=[
            *checked.wrong,
            None if same and first.status == 0 and not first.err else "the first was disturbed",
        ],
    )


JUMPS = """
import itertools, time
jumps = itertools.cycle([0, 86400, -31536000, 3600, -5])  # seconds
clock, clock_ns = time.time, time.time_ns
time.time = lambda: clock() + next(jumps)
time.time_ns = lambda: clock_ns() + next(jumps) * 10**9
"""


def jumping_clock(bench: Bench) -> Finding:
    """A clock that jumps"""
    run = bench.folder / "run"
    (bench.folder / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(bench.folder), os.environ.get("PYTHONPATH")]))
    flags = [flag for flag in begin_flags(run, {"time-limit": 3000}) if flag != "--quiet"]
    ended = run_to_end(run, [*flags, "--tensorboard"], environment={"PYTHONPATH": path})
    same = left_by(run) == bench.alone
    with (run / METRICS).open(encoding="utf-8") as file:
        header, *rows = (line.strip().split(",") for line in file)
    seconds = [float(row[header.index("seconds")]) for row in rows]
    sane = min(seconds) > 0 and sum(seconds) < 3000
    traced = any("Traceback" in line or "Error" in line for line in ended.err)
    shown = ended._replace(err=())  # the progress bar alone
    return find(
        "Python's clock jumps at every look at it: by a day, -365 days, an hour, -5 s; with --time-limit 3000, "
        "a progress bar and events for TensorBoard",
        ended if traced else shown,
        f"{kept_in(run)}; epochs of {min(seconds):.4f} to {max(seconds):.2f} s",
        status=0,
        said=[],
        wrong=[
            None if same else "it ended differently from the run left alone",
            None if sane else "times that cannot be",
        ],
    )


def signalled(bench: Bench, number: signal.Signals) -> Finding:
    """Send a signal, and go on."""
    run = bench.folder / "run"
    ended = interrupt(run, number)
    kept, rows = kept_in(run), rows_in(run)
    reached = latest_checkpoint(run / CHECKPOINTS)[0].epoch == rows
    after, problem = resume(bench, run, [f"going on after epoch {rows}"])
    return find(
        f"{number.name} after the first checkpoint",
        ended,
        kept,
        status=128 + number,
        said=[f"{number.name}: ending after this epoch", f"stopped by {number.name} after epoch {rows} of"],
        after=after,
        wrong=[problem, None if reached else "the last epoch is not saved"],
    )


def sigint(bench: Bench) -> Finding:
    """SIGINT (Ctrl-C)"""
    return signalled(bench, signal.SIGINT)


def sigterm(bench: Bench) -> Finding:
    """SIGTERM"""
    return signalled(bench, signal.SIGTERM)


def sigint_twice(bench: Bench) -> Finding:
    """SIGINT twice"""
    run = bench.folder / "run"
    # Epochs of about a second, so that the second one comes within the same.
    flags = begin_flags(run, {"dataset": "moons", "examples": 300_000, "checkpoint-every": 1})
    with running(run, flags) as begun:
        begun.wait_for_checkpoint()
        begun.process.send_signal(signal.SIGINT)
        assert begun.process.stderr is not None  # asked for
        first = begun.process.stderr.readline().strip()
        begun.process.send_signal(signal.SIGINT)
        ended = begun.end()
    whole = latest_checkpoint(run / CHECKPOINTS)[1] == ()
    return find(
        "SIGINT, and once more as soon as the first is answered, within an epoch",
        ended._replace(err=(first, *ended.err)),
        kept_in(run),
        status=130,
        said=["SIGINT: ending after this epoch", "SIGINT once more: ended at once; go on with"],
        wrong=[None if whole else "the newest checkpoint is damaged"],
    )


def sigkill(bench: Bench) -> Finding:
    """SIGKILL"""
    run = bench.folder / "run"
    with running(run, begin_flags(run)) as begun:
        begun.wait_for_checkpoint()
        begun.process.kill()
        ended = begun.end()
    kept = kept_in(run)
    after, problem = resume(bench, run, ["going on after epoch"])
    return find(
        "SIGKILL after the first checkpoint", ended, kept, status=-9, said=[], after=after, wrong=[problem]
    )


def killed_early(bench: Bench) -> Finding:
    """SIGKILL before the first checkpoint"""
    run = bench.folder / "run"
    with running(run, begin_flags(run, {"checkpoint-every": RUN["epochs"]})) as begun:
        begun.wait_for_rows(1)
        begun.process.kill()
        ended = begun.end()
    kept = kept_in(run)
    after, problem = resume(bench, run, ["holds no checkpoint yet: the run begins anew"])
    return find(
        "SIGKILL after the first epoch", ended, kept, status=-9, said=[], after=after, wrong=[problem]
    )
