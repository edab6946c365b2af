import datetime
import errno
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from command_runs import contents

from jaxmlp import ArgumentError
from jaxmlp.cli import run
from jaxmlp.cli.run import CHECKPOINTS, CONFIG, MODEL, describe_machine, make_run_folder, write_config


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_made_with_those_above_it_and_nothing_in_it(here: Path) -> None:
    folder = make_run_folder("a b/☃/run", "digits")
    assert folder == Path("a b/☃/run")
    assert contents(here) == {"a b": None, "a b/☃": None, "a b/☃/run": None}


def test_an_empty_folder_and_one_of_other_things_are_taken(here: Path) -> None:
    (here / "notes").mkdir()
    (here / "notes/todo.txt").write_text("buy milk")
    make_run_folder("notes", "digits")
    assert (here / "notes/todo.txt").read_text() == "buy milk"


@pytest.mark.parametrize("kept", [CONFIG, MODEL])
def test_a_folder_that_holds_a_run_is_refused_and_left_alone(kept: str, here: Path) -> None:
    (here / "old").mkdir()
    (here / "old" / kept).write_bytes(b"precious")
    before = contents(here)
    with pytest.raises(ArgumentError, match=r"old holds a run already: choose another folder with --out$"):
        make_run_folder("old", "digits")
    assert contents(here) == before


def test_a_run_that_has_a_checkpoint_can_be_gone_on_with(here: Path) -> None:
    (here / "old" / CHECKPOINTS).mkdir(parents=True)
    (here / "old" / CHECKPOINTS / "epoch-00000003.safetensors").touch()
    (here / "old" / CONFIG).touch()
    with pytest.raises(ArgumentError) as refusal:
        make_run_folder("old", "digits")
    assert str(refusal.value) == (
        "old holds a run already: choose another folder with --out, or go on with it by --resume old"
    )


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_way_is_refused_and_left_alone(out: str, here: Path) -> None:
    (here / "file").write_bytes(b"precious")
    with pytest.raises(ArgumentError, match=f"the run folder {out} cannot be written"):
        make_run_folder(out, "digits")
    assert contents(here) == {"file": b"precious"}


def test_a_folder_that_cannot_be_written_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By hand, as the rights of a folder do not bind the administrator who may run this.
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(
        ArgumentError, match=r"locked cannot be written \(Permission denied\): choose another"
    ):
        make_run_folder("locked", "digits")


def test_without_a_name_every_run_gets_a_folder_of_its_own(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Stopped":
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(run.datetime, "datetime", Stopped)
    made = [make_run_folder(None, "digits") for _ in range(3)]
    stamp = "runs/digits-20300102-030405"
    assert [path.as_posix() for path in made] == [stamp, f"{stamp}-2", f"{stamp}-3"]


@pytest.mark.parametrize("name", ["../../up.csv", "/etc/x.csv", "ünï ☃.csv", "..", "a/b", "-", "c:\\d.npz"])
def test_the_name_of_a_data_set_never_leads_out_of_runs(name: str, here: Path) -> None:
    folder = make_run_folder(None, name)
    assert folder.resolve().parent == here.resolve() / "runs"
    assert folder.is_dir()


def test_the_configuration_is_read_back_as_it_was(here: Path) -> None:
    config = {"rate": np.float32(0.5), "sizes": (1, 2), "codes": np.arange(2), "path": Path("a"), "no": None}
    write_config(here, config)
    read = json.loads((here / CONFIG).read_text(encoding="utf-8"))
    assert read == {"rate": 0.5, "sizes": [1, 2], "codes": [0, 1], "path": "a", "no": None}


def test_the_machine_is_described_in_plain_data() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert machine["versions"]["jax"] == jax.__version__
    assert len(machine["devices"]) == len(jax.devices())
    assert {"python", "platform", "processor"} <= set(machine)
