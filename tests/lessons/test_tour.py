"""The tour runs from its first cell to its last, and its saved outputs are what it prints."""

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest

TOUR = Path(__file__).parents[2] / "experiments" / "lessons" / "tour.ipynb"
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run_cell(source: str, namespace: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell as a notebook does; what it prints, and the value of its last line."""
    plain = "".join(line for line in source.splitlines(keepends=True) if not line.startswith("%"))
    tree = ast.parse(plain)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, TOUR.name, "exec"), namespace)
        value = (
            None if last is None else eval(compile(ast.Expression(last.value), TOUR.name, "eval"), namespace)
        )
    return printed.getvalue(), value


def saved_text(cell: dict[str, Any]) -> str:
    return "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")


def same_text(saved: str, fresh: str) -> bool:
    """Whether two texts are the same, their numbers within what another machine may round differently."""
    if NUMBER.sub("#", saved) != NUMBER.sub("#", fresh):
        return False
    pairs = zip(NUMBER.findall(saved), NUMBER.findall(fresh), strict=True)
    return all(float(one) == pytest.approx(float(other), rel=0.1, abs=1e-3) for one, other in pairs)


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_is_saved() -> None:
    namespace: dict[str, Any] = {}
    # A reader has JAX's own settings, not the strict ones of the other tests.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for cell in code_cells():
            fresh, value = run_cell("".join(cell["source"]), namespace)
            assert same_text(saved_text(cell), fresh), (saved_text(cell), fresh)
            pictures = [out for out in cell["outputs"] if "image/png" in out.get("data", {})]
            assert len(pictures) == (type(value).__name__ == "Figure")


def test_it_is_saved_as_executed_from_top_to_bottom_and_small() -> None:
    cells = code_cells()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {out["output_type"] for cell in cells for out in cell["outputs"]}
    assert kinds == {"stream", "display_data"} or kinds == {"stream", "execute_result"}
    assert all(out.get("name", "stdout") == "stdout" for cell in cells for out in cell["outputs"])
    assert TOUR.stat().st_size < 300_000


def test_no_check_in_it_came_out_false() -> None:
    printed = "".join(saved_text(cell) for cell in code_cells())
    assert printed.count("True") == 5
    assert "False" not in printed


@pytest.mark.parametrize(
    ("saved", "fresh", "same"),
    [
        ("loss 0.123", "loss 0.124", True),
        ("loss 0.123", "loss 0.223", False),
        ("same: True", "same: False", False),
        ("shape (32, 2)", "shape (32, 3)", False),
    ],
)
def test_another_output_is_caught(saved: str, fresh: str, same: bool) -> None:
    assert same_text(saved, fresh) == same


def test_a_cell_that_fails_is_caught() -> None:
    with pytest.raises(NameError):
        run_cell("%matplotlib inline\nx = y", {})
    assert run_cell("x = 2\nprint(x)\nx + 1", {}) == ("2\n", 3)
