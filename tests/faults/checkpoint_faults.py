"""Faults of what a run of train.py goes on from: checkpoints cut off, or of something else; damaged options."""

import os
from collections.abc import Callable
from pathlib import Path

from fault_bench import Bench, Finding, copy_of, find, resume
from fault_runs import RUN, Ended, run_to_end

from jaxmlp.cli.run import CHECKPOINTS, CONFIG
from jaxmlp.saving import checkpoints_in, latest_checkpoint, read_checkpoint, write_checkpoint


def truncated(bench: Bench) -> Finding:
    """A checkpoint that is truncated"""
    run = copy_of(bench)
    checkpoints = run / CHECKPOINTS
    newest, before = (
        checkpoints_in(checkpoints)[epoch] for epoch in sorted(checkpoints_in(checkpoints))[:-3:-1]
    )
    missed, cuts, files = [], 0, [newest]
    for path in files:
        content = path.read_bytes()
        for size in sorted(
            {0, 1, len(content) // 3, len(content) // 2, len(content) - 1} & set(range(len(content)))
        ):
            path.write_bytes(content[:size])
            found, notes = latest_checkpoint(checkpoints)
            if checkpoints_in(checkpoints)[found.epoch] != before or len(notes) != 1:
                missed.append(f"{path.name} cut to {size} bytes is not noticed")
            cuts += 1
        path.write_bytes(content)
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    after, problem = resume(bench, run, [f"using {before.name}", "going on after epoch"])
    nothing = Ended(0, "", ())
    return find(
        f"each of {len(files)} files of the newest checkpoint cut at up to 5 places ({cuts} cuts in all)",
        nothing,
        f"{cuts - len(missed)} of {cuts} noticed, and the checkpoint before used",
        status=0,
        said=[],
        after=f"the largest file cut in half, {after}",
        wrong=[*missed, problem],
    )


def refused(bench: Bench, how: str, damage: Callable[[Path], None], said: str) -> Finding:
    """Damage a run, and see --resume refuse it and leave it as it was."""
    run = copy_of(bench)
    damage(run)
    before = contents(run)
    ended = run_to_end(run, ["--resume", str(run)])
    same = contents(run) == before
    kept = "every file as it was" if same else "CHANGED FILES"
    return find(how, ended, kept, status=2, said=[said], wrong=[None if same else "files were changed"])


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file that holds it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def all_truncated(bench: Bench) -> Finding:
    """Checkpoints that are all truncated"""

    def damage(run: Path) -> None:
        for path in checkpoints_in(run / CHECKPOINTS).values():
            os.truncate(path, 10)

    return refused(bench, "every checkpoint cut to 10 bytes", damage, "is whole, the newest as")


def other_network(bench: Bench) -> Finding:
    """A checkpoint of another network"""

    def damage(run: Path) -> None:
        edit(run / CONFIG, f'"hidden": [\n      {RUN["hidden"]}\n    ]', '"hidden": [9]')

    return refused(
        bench, "config.json tells of 9 hidden units", damage, "the checkpoint is of another run: network"
    )


def other_data(bench: Bench) -> Finding:
    """A checkpoint of another data set"""

    def damage(run: Path) -> None:
        edit(run / CONFIG, '"dataset": "digits"', '"dataset": "moons"')

    return refused(bench, "config.json tells of moons", damage, "the checkpoint is of another run: data set")


def other_version(bench: Bench) -> Finding:
    """A checkpoint of another version"""

    def damage(run: Path) -> None:
        for path in checkpoints_in(run / CHECKPOINTS).values():
            found = read_checkpoint(path)
            write_checkpoint(path.parent, found.epoch, found.arrays, found.description | {"version": "9"})

    return refused(bench, "written by version 9…", damage, "the checkpoint is of another run: version")


def damaged_options(bench: Bench) -> Finding:
    """A config.json that is damaged"""

    def damage(run: Path) -> None:
        os.truncate(run / CONFIG, (run / CONFIG).stat().st_size // 2)

    return refused(bench, "config.json cut in half", damage, "does not hold the options of a run of train.py")
