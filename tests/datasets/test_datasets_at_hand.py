"""Whether a data set is here is told by what lies in the folders, and without touching them."""

from pathlib import Path

import pytest

from jaxmlp.datasets import at_hand
from jaxmlp.datasets.images import IMAGE_SETS, MANUAL_DIR_VARIABLE, TRAIN_FILES
from jaxmlp.datasets.prepared import RECORD
from jaxmlp.registry import UnknownNameError


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MANUAL_DIR_VARIABLE, raising=False)


@pytest.mark.parametrize("name", ["digits", "moons"])
def test_bundled_and_generated_sets_are_always_there(name: str, tmp_path: Path) -> None:
    assert at_hand.is_at_hand(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_an_image_set_is_there_once_it_is_prepared(name: str, tmp_path: Path) -> None:
    assert not at_hand.is_at_hand(name, data_dir=tmp_path)
    (tmp_path / name).mkdir()
    assert not at_hand.is_at_hand(name, data_dir=tmp_path)
    (tmp_path / name / RECORD).touch()
    assert at_hand.is_at_hand(name, data_dir=tmp_path)
    assert not any(at_hand.is_at_hand(other, data_dir=tmp_path) for other in IMAGE_SETS if other != name)


@pytest.mark.parametrize("folder", ["", "mnist"])
def test_archives_laid_by_hand_are_found_by_argument_and_by_variable(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = tmp_path / "by hand"
    (by_hand / folder).mkdir(parents=True)
    nothing = tmp_path / "data"
    assert not at_hand.is_at_hand("mnist", data_dir=nothing, manual_dir=by_hand)
    (by_hand / folder / TRAIN_FILES[0]).touch()
    assert at_hand.is_at_hand("mnist", data_dir=nothing, manual_dir=by_hand)
    assert not at_hand.is_at_hand("mnist", data_dir=nothing)
    monkeypatch.setenv(MANUAL_DIR_VARIABLE, str(by_hand))
    assert at_hand.is_at_hand("mnist", data_dir=nothing)
    assert not nothing.exists()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        at_hand.is_at_hand("mnst")
