"""Every example in a docstring, in README.md and in the documents runs, and shows what it says it shows."""

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
ROOT = PACKAGE.parent
DOCUMENTS = [
    path
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "experiments" / "README.md",
    )
    if path.is_file()
]
PUBLIC = ["jaxmlp", "jaxmlp.datasets", "jaxmlp.plots", "jaxmlp.saving"]


def module_names() -> list[str]:
    """Every module of the package whose text has an example."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]


# --- docstrings ---


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples; those of compiled functions, which doctest passes over, too."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {test.name: test for test in finder.find(module)}
    for name, thing in vars(module).items():
        if not inspect.isclass(thing) and getattr(thing, "__module__", None) == module.__name__:
            for test in finder.find(inspect.unwrap(thing), f"{module.__name__}.{name}", module):
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
    tests = examples(importlib.import_module(name))
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


def undocumented(thing: Any) -> str | None:
    """What a public thing's documentation lacks."""
    documentation = inspect.getdoc(thing)
    if not documentation:
        return "a docstring"
    is_function = callable(thing) and not inspect.isclass(thing)
    lacks_example = is_function and ("Example:" not in documentation or ">>>" not in documentation)
    return "an example" if lacks_example else None


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__) > 0
    lacking = {name: undocumented(getattr(module, name)) for name in module.__all__}
    assert {name: lack for name, lack in lacking.items() if lack} == {}


def test_a_function_without_documentation_is_caught() -> None:
    for docstring, lack in [("", "a docstring"), ("Do it.", "an example"), ("Example: none.", "an example")]:
        assert undocumented(vars(documented_module(docstring))["double"]) == lack
    assert undocumented(jaxmlp.mlp) is None


# --- documents ---

QUOTATION = re.compile(r"# from (\S+\.py)\n")


def python_blocks(text: str) -> list[tuple[int, str]]:
    """The Python blocks of a text in Markdown, each with the number of its first line."""
    return [
        (text.count("\n", 0, match.start()) + 2, match.group(1))
        for match in re.finditer(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def run_blocks(text: str, name: str = "README.md") -> dict[str, Any]:
    """Run the blocks in order in one namespace, quotations left out; a traceback has the lines of the document."""
    namespace: dict[str, Any] = {"__name__": "__document__"}
    for line, block in python_blocks(text):
        if not QUOTATION.match(block):
            exec(compile("\n" * (line - 1) + block, name, "exec"), namespace)
    return namespace


def misquoted(text: str) -> list[int]:
    """The lines of the document at which a block quotes a file of the package that does not hold it word for word."""
    quoted = [(line, QUOTATION.match(block), block) for line, block in python_blocks(text)]
    return [
        line
        for line, head, block in quoted
        if head and block[head.end() :] not in (ROOT / head.group(1)).read_text(encoding="utf-8")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_document_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_quotations_are_word_for_word(path: Path) -> None:
    assert misquoted(path.read_text(encoding="utf-8")) == []


def test_the_readme_is_short_and_quotes_the_chain_rule() -> None:
    text = DOCUMENTS[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "# from jaxmlp/backprop.py\ndef propagate(" in text


TEXT = """\
# Title

```python
x = 1
```

```
not python
```

```python
# from jaxmlp/backprop.py
def propagate(
```

```python
y = x + 1
```
"""


def test_blocks_share_one_namespace_and_others_are_left() -> None:
    assert [line for line, _ in python_blocks(TEXT)] == [4, 12, 17]
    assert run_blocks(TEXT)["y"] == 2
    assert misquoted(TEXT) == []


def test_a_quotation_that_differs_is_caught() -> None:
    assert misquoted(TEXT.replace("propagate(", "propagate( ")) == [12]


def test_a_block_that_fails_is_caught_with_its_line() -> None:
    with pytest.raises(NameError) as caught:
        run_blocks(TEXT.replace("x + 1", "z + 1"))
    assert caught.traceback[-1].lineno == 17 - 1  # counted from 0
