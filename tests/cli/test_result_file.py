import json
from pathlib import Path

import pytest

from jaxmlp import ArgumentError
from jaxmlp.cli.text import check_out, write_result


def test_a_file_that_can_be_written_is_and_none_is_no_file(tmp_path: Path) -> None:
    out = str(tmp_path / "result.json")
    for name in (out, None):
        check_out(name)
        write_result(name, {"seconds": 1.5})
    assert json.loads(Path(out).read_text(encoding="utf-8")) == {"seconds": 1.5}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"the folder of .* is not there: make it, or choose another file"
    ):
        check_out(str(tmp_path / "no" / "x.json"))
    for out in ("", str(tmp_path)):
        with pytest.raises(ArgumentError, match="is no file: give the name of a csv to write"):
            check_out(out, "csv")
    with pytest.raises(ArgumentError, match=r"cannot be written \(.*\): choose another file with --out"):
        write_result(str(tmp_path), {})
