import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from command_runs import inside
from comparisons import refused

from jaxmlp import Stopping
from jaxmlp.cli.options import KEPT, OF_THIS_CALL, RunOptions, stopping_of
from jaxmlp.cli.resume import read_options, remember
from jaxmlp.cli.run import CONFIG


def begun(folder: Path, *, began: Path | None = None, **options: Any) -> RunOptions:
    """Write the config.json of a run, which may have been begun in another folder."""
    folder.mkdir(exist_ok=True)
    run = dataclasses.replace(RunOptions(), out=str(folder), **options)
    config = {"options": dataclasses.asdict(run), "command": ["python", "train.py"]}
    place = {} if began is None else {"folder": str(began)}
    (folder / CONFIG).write_text(json.dumps(config | place), encoding="utf-8")
    return run


def resumed(run: Path | str, *flags: str) -> RunOptions:
    """The options of a run that goes on."""
    return read_options(["--resume", str(run), *flags])


def test_names_that_are_spoken_of_exist() -> None:
    fields = {field.name for field in dataclasses.fields(RunOptions)}
    assert set(OF_THIS_CALL) <= fields
    assert set(KEPT) <= set(OF_THIS_CALL)


def test_a_resumed_run_has_its_own_options_and_takes_length_and_display_from_the_call(tmp_path: Path) -> None:
    own = {"hidden": (3, 5), "optimizer": "adam", "batch_size": None, "l2": 0.5, "bias": False}
    run = begun(tmp_path, epochs=7, validation=0.2, quiet=True, **own)
    assert resumed(tmp_path) == dataclasses.replace(run, resume=str(tmp_path))
    changed = resumed(tmp_path, "--epochs", "9", "--patience", "3", "--keep", "5")
    given = {"epochs": 9, "patience": 3, "keep": 5}
    assert changed == dataclasses.replace(run, resume=str(tmp_path), **given)


# Flags that --resume takes from the run.
OTHERS = sorted({field.name for field in dataclasses.fields(RunOptions)} - set(OF_THIS_CALL))


@pytest.mark.parametrize("name", OTHERS)
def test_other_options_are_refused_with_resume_even_at_their_defaults(name: str, tmp_path: Path) -> None:
    begun(tmp_path)
    flag, default = f"--{name.replace('_', '-')}", getattr(RunOptions(), name)
    usual = {"hidden": "8", "batch_size": "32"}.get(name, "1" if default is None else str(default))
    given = [flag] if isinstance(default, bool) or name == "header" else [flag, usual]
    refused(f"--resume takes {flag} from the run: leave it out", resumed, tmp_path, *given)


def test_what_a_resumption_changed_is_remembered(tmp_path: Path) -> None:
    run = begun(tmp_path, epochs=7)
    before = (tmp_path / CONFIG).read_bytes()
    remember(tmp_path, resumed(tmp_path, "--quiet"))
    assert (tmp_path / CONFIG).read_bytes() == before, "nothing to remember"
    remember(tmp_path, resumed(tmp_path, "--epochs", "9", "--quiet"))
    assert resumed(tmp_path) == dataclasses.replace(run, epochs=9, resume=str(tmp_path))
    assert json.loads((tmp_path / CONFIG).read_text())["command"] == ["python", "train.py"]


def test_no_run_is_said_so(tmp_path: Path) -> None:
    refused("no run at ...nowhere: give the folder of a training run", resumed, tmp_path / "nowhere")
    refused("no run at", resumed, tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no JSON text"),
        ("{", "it is no JSON text"),
        ("\xff\xfe\x00", "it is no JSON text"),
        ("[]", "options is missing"),
        ("null", "options is missing"),
        ('{"options": null}', "options is missing"),
        ('{"options": {"hidden": 8}}', "hidden is of a wrong type"),
        ('{"options": {"hidden": "88"}}', "hidden is of a wrong type"),
        ('{"options": {"hidden": [8.5]}}', "hidden is of a wrong type"),
        ('{"options": {"hidden": [8], "epochs": "40"}}', "epochs is of a wrong type"),
        ('{"options": {"hidden": [8], "epochs": null}}', "epochs is of a wrong type"),
        ('{"options": {"hidden": [8], "epochs": true}}', "epochs is of a wrong type"),
        ('{"options": {"hidden": [8], "quiet": 1}}', "quiet is of a wrong type"),
        ('{"options": {"hidden": [8], "dataset": ["digits"]}}', "dataset is of a wrong type"),
        ('{"options": {"hidden": [8], "l2": [0.1]}}', "l2 is of a wrong type"),
    ],
)
def test_what_is_damaged_is_named(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(text, encoding="latin-1")
    told = f"{tmp_path / CONFIG} does not describe a training run ({reason}): give the folder of one"
    assert refused("", resumed, tmp_path) == told


def test_options_of_a_later_version_and_numbers_out_of_range_are_one_line(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"options": {"hidden": [8], "warp": 9}}', encoding="utf-8")
    refused("holds options that this version does not know (warp)", resumed, tmp_path)
    (tmp_path / CONFIG).write_text('{"options": {"grid": []}}', encoding="utf-8")
    refused("is the folder of a sweep: go on by jaxmlp sweep --resume", resumed, tmp_path)
    begun(tmp_path, epochs=0)
    refused("--epochs must be at least 1, given 0", resumed, tmp_path)


def test_the_rules_of_stopping_reach_the_library() -> None:
    flags = "--validation 0.2 --patience 3 --monitor score --min-improvement 0.01 --target-accuracy 0.9"
    options = read_options([*flags.split(), "--time-limit", "60"])
    assert stopping_of(options) == Stopping(3, "score", 0.01, 0.9, 60.0)
    assert stopping_of(RunOptions()) == Stopping()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--patience 0", "--patience must be at least 1, given 0"),
        ("--monitor score", "--monitor works only with --patience: give --patience N, or leave it out"),
        ("--min-improvement 0.1", "--min-improvement works only with --patience: give --patience N"),
    ],
)
def test_what_patience_cannot_be_is_refused_by_the_name_of_the_option(flags: str, words: str) -> None:
    refused(words, read_options, flags.split())


def test_patience_for_a_run_that_holds_nothing_out_needs_a_new_run(tmp_path: Path) -> None:
    begun(tmp_path)
    refused("none is held out: begin a run with --validation 0.2", resumed, tmp_path, "--patience", "3")


# --- where the data are ---


def test_places_are_seen_from_where_the_run_was_begun(tmp_path: Path) -> None:
    run, began = tmp_path / "run", tmp_path / "began"
    begun(run, began=began, dataset="data/pets.csv", data_dir="prepared", manual_dir="/archives")
    before = (run / CONFIG).read_bytes()
    options = resumed(run)
    assert options.dataset == str(began / "data/pets.csv")
    assert (options.data_dir, options.manual_dir) == (str(began / "prepared"), "/archives")
    remember(run, options)
    assert (run / CONFIG).read_bytes() == before, "nothing to remember"
    with inside(tmp_path):  # everything was moved
        (tmp_path / "data").mkdir()
        (tmp_path / "data/pets.csv").touch()
        assert resumed("run").dataset == "data/pets.csv"


def test_a_file_that_has_moved_is_remembered_and_a_name_is_no_place(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begun(run, began=tmp_path / "began", dataset="pets.csv")
    with inside(tmp_path):
        options = resumed("run", "--dataset", "moved/pets.csv")
        assert options.dataset == "moved/pets.csv"
        remember(run, options)
    with inside(run):
        assert resumed(".").dataset == str(tmp_path / "moved/pets.csv")
    begun(run, began=tmp_path)
    assert resumed(run).dataset == "digits"
