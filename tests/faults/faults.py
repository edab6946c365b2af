"""Make every fault happen to runs of train.py: what the user sees, what is kept, and how the run goes on."""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from checkpoint_faults import (
    all_truncated,
    damaged_options,
    other_data,
    other_network,
    other_version,
    truncated,
)
from disk_faults import folder_closed, folder_deleted, folder_read_only, full_disk
from fault_bench import Bench, Finding, Skipped, benches
from fault_runs import Ended
from process_faults import (
    jumping_clock,
    killed_early,
    loss_not_finite,
    sigint,
    sigint_twice,
    sigkill,
    sigterm,
    two_runs,
)

from jaxmlp import ArgumentError
from jaxmlp.cli.options import option, parse_options
from jaxmlp.cli.run import describe_machine
from jaxmlp.cli.session import run
from jaxmlp.cli.text import check_out, write_result
from jaxmlp.registry import unknown_name

DESCRIPTION = """Make every fault happen to runs of train.py, each in processes of its own, and print what the user
sees, what is kept, and whether --resume ends as a run left alone, bit for bit."""


FAULTS: Mapping[str, Callable[[Bench], Finding]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        loss_not_finite,
        full_disk,
        folder_deleted,
        folder_read_only,
        folder_closed,
        truncated,
        all_truncated,
        other_network,
        other_data,
        other_version,
        damaged_options,
        two_runs,
        jumping_clock,
        sigint,
        sigterm,
        sigint_twice,
        sigkill,
        killed_early,
    )
}


@dataclass(frozen=True)
class FaultsOptions:
    """The options of the experiment."""

    only: tuple[str, ...] = option(
        (), f"these faults alone: {', '.join(FAULTS)}", group="faults", metavar="FAULT"
    )
    at_once: int = option(2, "faults made at a time", group="faults", metavar="N")
    out: str | None = option(None, "json file for the result (default: none)", group="output", metavar="FILE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    options, _ = parse_options(FaultsOptions, DESCRIPTION, arguments)
    check(options)
    names = options.only or tuple(FAULTS)
    findings: dict[str, Finding | str] = {}
    with benches() as bench, ThreadPoolExecutor(options.at_once) as pool:
        found = pool.map(lambda name: make(name, bench(name)), names)
        for name, finding in zip(names, found, strict=True):
            print(f"{block(name, finding)}\n", flush=True)
            findings |= {name: finding}
    made = [finding for finding in findings.values() if isinstance(finding, Finding)]
    right = sum(not finding.wrong for finding in made)
    print(f"{right} of {len(made)} as it should be; {len(findings) - len(made)} skipped")
    result = {
        "what": "faults made to happen to runs of train.py",
        "command": ["python", *sys.argv],
        "machine": describe_machine(),
        "faults": {
            name: finding._asdict() | {"ended": finding.ended._asdict()}
            if isinstance(finding, Finding)
            else finding
            for name, finding in findings.items()
        },
    }
    write_result(options.out, result)
    return 0 if right == len(made) else 1


def check(options: FaultsOptions) -> None:
    """Refuse what cannot be run."""
    if options.at_once < 1:
        raise ArgumentError(f"--at-once must be at least 1, given {options.at_once}")
    for name in options.only:
        if name not in FAULTS:
            raise unknown_name("fault", name, FAULTS)
    check_out(options.out)


def make(name: str, bench: Bench) -> Finding | str:
    """Make a fault happen; a text says why it was skipped."""
    try:
        return FAULTS[name](bench)
    except Skipped as reason:
        return f"skipped: {reason}"
    except ArgumentError as error:
        return Finding("not", Ended(0, "", ()), "nothing", "", (str(error),))


def block(name: str, finding: Finding | str) -> str:
    """Write what came of a fault."""
    title = FAULTS[name].__doc__
    if isinstance(finding, str):
        return f"{title}\n  {finding}"
    lines = [
        ("made", finding.how),
        ("exit", str(finding.ended.status)),
        *(("saw", line) for line in finding.ended.err or ["nothing on standard error"]),
        ("kept", finding.kept),
        *(("then", line) for line in finding.after.splitlines()),
        *(("WRONG", problem) for problem in finding.wrong),
    ]
    return "\n".join([str(title), *(f"  {head:<5} {text}" for head, text in lines)])


if __name__ == "__main__":
    run(main)
