"""Every fault happens for real; what the user sees and what is kept is held to what is promised."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fault_bench
import pytest
from command_runs import run_experiment
from fault_bench import Bench, Finding, Skipped, benches, copy_of, find
from fault_runs import Ended, begin_flags, kept_in, left_by, rows_in, running
from faults import FAULTS, block
from survival import End

from jaxmlp import ArgumentError
from jaxmlp.cli.run import CHECKPOINTS


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[[str], Bench]]:
    with benches() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_ends_as_promised(name: str, bench: Callable[[str], Bench]) -> None:
    try:
        finding = FAULTS[name](bench(name))
    except Skipped as reason:
        pytest.skip(str(reason))
    assert finding.wrong == (), block(name, finding)


# --- the verdict itself ---

LINE = "train.py: the disk is full: make room"


def verdict(ended: Ended, said: tuple[str, ...] = ("the disk is full",), **options: list[str | None]) -> bool:
    return find("", ended, "", status=2, said=said, **options).wrong == ()  # type: ignore[arg-type]


def test_what_is_as_promised_is_right() -> None:
    assert verdict(Ended(2, "", (LINE,)))
    assert verdict(Ended(2, "", ()), ())
    assert verdict(Ended(2, "", (LINE,)), wrong=[None])


@pytest.mark.parametrize(
    "ended",
    [
        Ended(0, "", (LINE,)),
        Ended(-9, "", (LINE,)),
        Ended(2, LINE, ()),
        Ended(2, "", (LINE, LINE)),
        Ended(2, "", ("Traceback (most recent call last):", LINE)),
        Ended(2, "", ("train.py: something else",)),
    ],
)
def test_what_is_not_as_promised_is_wrong(ended: Ended) -> None:
    assert not verdict(ended)


def test_a_resumption_that_ends_otherwise_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, tmp_path, End("the same", []))
    ends = {"end": End("the same", []), "ended": Ended(0, "", ("going on",))}
    monkeypatch.setattr(fault_bench, "left_by", lambda run: ends["end"])
    monkeypatch.setattr(fault_bench, "run_to_end", lambda run, arguments, **process: ends["ended"])
    assert fault_bench.resume(bench, tmp_path, ["going on"])[1] is None
    for name, wrong in {
        "end": End("another", []),
        "ended": Ended(1, "", ("going on",)),
    }.items():
        with monkeypatch.context() as patched:
            patched.setitem(ends, name, wrong)  # type: ignore[arg-type]
            assert fault_bench.resume(bench, tmp_path, ["going on"])[1] is not None


# --- its parts ---


def test_a_run_that_ends_too_early_is_said_so(tmp_path: Path) -> None:
    said = r"ended too early, 2: train\.py: --epochs must be at least 1"
    with running(tmp_path / "run", ["--epochs", "0"]) as begun, pytest.raises(ArgumentError, match=said):
        begun.wait_for_rows(1)
    assert begun.process.returncode == 2


def test_a_run_is_gone_after_the_with(tmp_path: Path) -> None:
    with running(tmp_path / "run", begin_flags(tmp_path / "run")) as begun:
        assert begun.process.poll() is None
    assert begun.process.returncode == -9


def test_a_folder_without_a_run_is_described_and_has_no_end(tmp_path: Path) -> None:
    assert kept_in(tmp_path / "nowhere") == "nothing: no folder"
    assert kept_in(tmp_path) == "no file; 0 epochs in the table; last whole checkpoint: none"
    assert rows_in(tmp_path) == 0
    assert left_by(tmp_path) is None


def test_a_copy_has_no_model(tmp_path: Path) -> None:
    (tmp_path / "alone" / CHECKPOINTS).mkdir(parents=True)
    (tmp_path / "alone" / "model.safetensors").touch()
    (tmp_path / "fault").mkdir()
    run = copy_of(Bench(tmp_path / "fault", tmp_path / "alone", End("", [])))
    assert [path.name for path in run.iterdir()] == [CHECKPOINTS]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--only", "sigkil"), "unknown fault 'sigkil': did you mean 'sigkill'?"),
        (("--at-once", "0"), "--at-once must be at least 1, given 0"),
        (("--out", "nowhere/faults.json"), "the folder of nowhere/faults.json is not there"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_run(flags: tuple[str, ...], words: str) -> None:
    outcome = run_experiment("faults", *flags)
    assert outcome.status == 2
    assert words in outcome.error_line


def test_every_fault_has_a_title_and_a_block() -> None:
    for name in FAULTS:
        finding = Finding("so", Ended(2, "", (LINE,)), "all", "--resume: well", ("this",))
        lines = block(name, finding).splitlines()
        assert lines[0] == FAULTS[name].__doc__
        assert lines[1:] == [
            "  made  so", "  exit  2", f"  saw   {LINE}", "  kept  all", "  then  --resume: well", "  WRONG this"
        ]  # fmt: skip
        assert block(name, "skipped: no disk") == f"{FAULTS[name].__doc__}\n  skipped: no disk"


def test_a_wrong_finding_is_the_experiment_s_status_and_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def skip(bench: Bench) -> Finding:
        raise Skipped("not here")

    def fail(bench: Bench) -> Finding:
        raise ArgumentError("the run hangs")

    good = Finding("so", Ended(2, "", (LINE,)), "all", "", ())
    monkeypatch.setattr(
        "faults.benches", lambda: contextlib.nullcontext(lambda name: Bench(tmp_path, tmp_path, End("", [])))
    )
    faults = {"good": lambda bench: good, "skip": skip, "fail": fail}
    for fault in faults.values():
        fault.__doc__ = "A fault"
    monkeypatch.setattr("faults.FAULTS", faults)
    out = tmp_path / "faults.json"
    outcome = run_experiment("faults", "--only", "good", "skip", "--out", out)
    assert outcome.status == 0
    assert outcome.out.endswith("1 of 1 as it should be; 1 skipped\n")
    assert json.loads(out.read_text())["faults"]["good"]["ended"]["status"] == 2
    outcome = run_experiment("faults", "--only", "good", "fail")
    assert outcome.status == 1
    assert "  WRONG the run hangs" in outcome.out
    assert outcome.out.endswith("1 of 2 as it should be; 0 skipped\n")
