"""Every example in a docstring and in the README runs, and shows what it says it shows."""

import doctest
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import pytest

import jaxmlp

PACKAGE = Path(jaxmlp.__file__).parent
README = PACKAGE.parent / "README.md"


def module_names() -> list[str]:
    parts = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))]
    return [".".join(part).removesuffix(".__init__") for part in parts]


def public_functions(module: ModuleType) -> list[str]:
    """The functions that a module defines and does not hide, compiled ones too."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and callable(thing)
        and not inspect.isclass(thing)
        and getattr(thing, "__module__", None) == module.__name__
        and inspect.isfunction(inspect.unwrap(thing))
    ]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples; those of compiled functions, which doctest passes over, too."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {test.name: test for test in finder.find(module)}
    for name in public_functions(module):
        for test in finder.find(inspect.unwrap(getattr(module, name)), f"{module.__name__}.{name}", module):
            found.setdefault(test.name, test)
    return [test for test in found.values() if test.examples]


def failures(tests: list[doctest.DocTest], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run examples in an empty folder; what failed, as doctest reports it."""
    monkeypatch.chdir(folder)
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)  # "..." for what is left out
    for test in tests:
        runner.run(test, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("name", module_names())
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    tests = examples(module)
    if public_functions(module):
        assert tests
    assert failures(tests, tmp_path, monkeypatch) == ""


def documented_module(docstring: str) -> ModuleType:
    """A module with one function of that documentation, compiled as the package's own are."""
    module = ModuleType("told")
    exec(f"def double(x):\n    {docstring!r}\n    return 2 * x", vars(module))
    vars(module)["double"].__module__ = "told"
    vars(module)["double"] = jax.jit(vars(module)["double"])
    return module


@pytest.mark.parametrize(
    ("docstring", "complaint"),
    [
        (">>> int(double(2))\n4", ""),
        (">>> int(double(2))\n5", "Got:\n    4"),
        (">>> triple(2)\n6", "NameError"),
    ],
)
def test_an_example_that_shows_something_else_is_caught(
    docstring: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = failures(examples(documented_module(docstring)), tmp_path, monkeypatch)
    assert (found == "") == (complaint == "")
    assert complaint in found


def test_a_module_without_examples_is_caught() -> None:
    module = documented_module("Double a number.")
    assert public_functions(module) == ["double"]
    assert examples(module) == []


def test_the_modules_are_all_of_the_packages() -> None:
    names = module_names()
    assert {
        "jaxmlp",
        "jaxmlp.backprop",
        "jaxmlp.datasets",
        "jaxmlp.datasets.toys",
        "jaxmlp.plots.style",
    } <= set(names)
    assert len(names) == len(set(names)) == len(list(PACKAGE.rglob("*.py")))


# --- the README ---


def python_blocks(text: str) -> list[tuple[int, str]]:
    """The Python blocks of a text in Markdown, each with the number of its first line."""
    return [
        (text.count("\n", 0, match.start()) + 2, match.group(1))
        for match in re.finditer(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def run_blocks(text: str) -> dict[str, Any]:
    """Run the blocks in order in one namespace; an error's traceback has the lines of the README."""
    namespace: dict[str, Any] = {"__name__": "__readme__"}
    for line, block in python_blocks(text):
        exec(compile("\n" * (line - 1) + block, "README.md", "exec"), namespace)
    return namespace


@pytest.mark.slow
@pytest.mark.skipif(not README.is_file(), reason="there is no README yet")
def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    assert python_blocks(text)
    monkeypatch.chdir(tmp_path)
    run_blocks(text)


TEXT = """\
# Title

```python
x = 1
```

```
not python
```

```python
y = x + 1
```
"""


def test_blocks_share_one_namespace_and_others_are_left() -> None:
    assert python_blocks(TEXT) == [(4, "x = 1\n"), (12, "y = x + 1\n")]
    assert run_blocks(TEXT)["y"] == 2


def test_a_block_that_fails_is_caught_with_its_line() -> None:
    with pytest.raises(NameError) as caught:
        run_blocks(TEXT.replace("x + 1", "z + 1"))
    assert caught.traceback[-1].lineno == 12 - 1  # counted from 0
