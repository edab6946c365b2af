"""The layer table and the rule that every gradient is written by hand, read from the syntax trees."""

import ast
import importlib
import importlib.resources
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jaxmlp

PACKAGE = Path(jaxmlp.__file__).parent

# --- the table: a room is a file or a folder of the package, and imports only rooms of lower layers ---

LAYERS: dict[str, int] = {
    "types": 0,
    "errors": 0,
    "registry": 0,
    "reports": 0,
    "activations": 1,
    "losses": 1,
    "initializers": 1,
    "batching": 1,
    "metrics": 1,
    "layers": 2,
    "checks": 2,
    "stopping": 2,
    "network": 3,
    "backprop": 3,
    "gradcheck": 4,
    "optimizers": 4,
    "evaluation": 4,
    "training": 4,
    "model_file": 4,
    "streaming": 5,
    "windows": 5,
    "fitting": 5,
    "checkpoint": 5,
    "problem": 5,
    "devices": 1,
    "data_parallel": 1,
    "products": 1,
    "members": 5,
    "blocks": 5,
    "trials": 5,
    "sweep": 5,
}
LEAVES = {"datasets", "plots"}  # import layer 0 alone, and know nothing of networks
TOP = "__init__"

ALSO_ALLOWED = {
    ("registry", "errors"),
    ("registry", "types"),
    ("reports", "types"),
    ("backprop", "network"),
    ("training", "optimizers"),
    ("training", "evaluation"),
    ("checkpoint", "fitting"),
    ("checkpoint", "windows"),
    ("windows", "streaming"),
    ("fitting", "streaming"),
    ("fitting", "windows"),
    ("problem", "datasets"),
    ("data_parallel", "devices"),
    ("blocks", "members"),
    ("sweep", "blocks"),
    ("sweep", "members"),
    ("sweep", "trials"),
}
LAYER_0_ALONE = {"optimizers"}

LIBRARIES_EVERYWHERE = {"jax", "jaxtyping", "numpy"}
LIBRARIES: dict[str, set[str]] = {
    "matplotlib": {"plots"},
    "PIL": {"plots"},  # comes with matplotlib
    "optax": {"optimizers", "training", "members"},
    "grain": {"streaming"},
    "safetensors": {"model_file"},
    "tensorflow_datasets": {"datasets"},
    "sklearn": {"datasets"},
    "pandas": {"datasets"},
    "pooch": {"datasets"},
    "requests": {"datasets"},
}

# --- the names that differentiate automatically, and the one room that may use them ---

AUTODIFF = {
    "grad",
    "value_and_grad",
    "vjp",
    "jvp",
    "linearize",
    "linear_transpose",
    "jacfwd",
    "jacrev",
    "jacobian",
    "hessian",
    "custom_vjp",
    "custom_jvp",
    "custom_gradient",
    "check_grads",
    "jet",
    "ad",
}
AUTODIFF_ROOM = "gradcheck"

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_name(path: Path) -> str:
    name = ".".join(("jaxmlp", *path.relative_to(PACKAGE).with_suffix("").parts))
    return name.removesuffix(".__init__")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def package_of(path: Path) -> str:
    return ".".join(("jaxmlp", *path.relative_to(PACKAGE).parts[:-1]))


# --- who imports whom ---


def imported_by_name(call: ast.Call) -> str | None:
    """The module that `importlib.import_module("a.b")` or `__import__("a.b")` names."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    named = call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    return call.args[0].value if named and function in ("import_module", "__import__") else None


def imports(source: str, package: str) -> Iterator[str]:
    """Every module that a source text imports, wherever the import stands, by its dotted name.

    A name imported from a module counts as a module inside it: `from jaxmlp import network`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and (name := imported_by_name(node)):
            yield name


def rooms_imported(source: str, package: str = "jaxmlp") -> set[str]:
    found = set()
    for name in imports(source, package):
        first, *rest = name.split(".")
        if first == "jaxmlp":
            found.add(rest[0] if rest and rest[0] in {*LAYERS, *LEAVES} else TOP)
    return found


def libraries_imported(source: str, package: str = "jaxmlp") -> set[str]:
    first_parts = {name.split(".")[0] for name in imports(source, package)}
    return first_parts - set(sys.stdlib_module_names) - {"jaxmlp"}


def may_import(room: str, other: str) -> bool:
    if room in (other, TOP) or (room, other) in ALSO_ALLOWED:
        return True
    if other not in LAYERS:
        return False
    if room in LEAVES or room in LAYER_0_ALONE:
        return LAYERS[other] == 0
    return LAYERS[other] < LAYERS[room]


def may_use(room: str, library: str) -> bool:
    return library in LIBRARIES_EVERYWHERE or room in LIBRARIES.get(library, set())


def test_the_table_names_every_room_and_no_other() -> None:
    assert {room_of(path) for path in MODULES} == {*LAYERS, *LEAVES, TOP}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room, source, package = room_of(path), path.read_text(encoding="utf-8"), package_of(path)
    assert not {other for other in rooms_imported(source, package) if not may_import(room, other)}
    assert not {library for library in libraries_imported(source, package) if not may_use(room, library)}


@pytest.mark.parametrize(
    ("room", "source", "seen"),
    [
        ("activations", "from jaxmlp.losses import LOSSES", "losses"),
        ("activations", "from jaxmlp import layers", "layers"),
        ("activations", "from jaxmlp import mlp", TOP),
        ("activations", "import jaxmlp", TOP),
        ("activations", "import jaxmlp.network as n", "network"),
        ("activations", "def f():\n    from jaxmlp.network import mlp", "network"),
        ("activations", "if TYPE_CHECKING:\n    from jaxmlp.network import mlp", "network"),
        ("activations", "import importlib\nimportlib.import_module('jaxmlp.network')", "network"),
        ("activations", "__import__('jaxmlp.network')", "network"),
        ("activations", "from . import layers", "layers"),
        ("activations", "from .layers import Dense", "layers"),
        ("types", "from jaxmlp.types import ArgumentError", "errors"),
        ("network", "from jaxmlp.backprop import loss", "backprop"),
        ("gradcheck", "from jaxmlp.training.steps import train_step", "training"),
        ("optimizers", "from jaxmlp.network import mlp", "network"),
        ("model_file", "from jaxmlp.training.steps import train_step", "training"),
        ("training", "from jaxmlp.plots import save", "plots"),
        ("training", "from jaxmlp.datasets import load", "datasets"),
        ("training", "from jaxmlp.datasets.problem import make_problem", "problem"),
    ],
)
def test_an_import_against_the_table_is_caught(room: str, source: str, seen: str) -> None:
    assert rooms_imported(source) == {seen}
    assert not may_import(room, seen)


@pytest.mark.parametrize("leaf", sorted(LEAVES))
@pytest.mark.parametrize("source", ["from ..network import mlp", "from .. import network"])
def test_a_leaf_that_knows_networks_is_caught(leaf: str, source: str) -> None:
    assert rooms_imported(source, f"jaxmlp.{leaf}") == {"network"}
    assert not may_import(leaf, "network")
    assert not may_import(leaf, "datasets" if leaf == "plots" else "plots")
    assert rooms_imported("from . import style", f"jaxmlp.{leaf}") == {leaf}


@pytest.mark.parametrize(
    ("room", "source", "library"),
    [
        ("training", "import matplotlib.pyplot as plt", "matplotlib"),
        ("training", "def f():\n    from sklearn.metrics import r2_score", "sklearn"),
        ("network", "import optax", "optax"),
        ("evaluation", "from optax import losses", "optax"),
        ("plots", "import pandas as pd", "pandas"),
        ("backprop", "import tensorflow_datasets as tfds", "tensorflow_datasets"),
        ("training", "import safetensors.numpy", "safetensors"),
        ("datasets", "import matplotlib", "matplotlib"),
        ("fitting", "def f():\n    import grain", "grain"),
        ("backprop", "import torch", "torch"),
        (TOP, "import pooch", "pooch"),
    ],
)
def test_a_library_in_the_wrong_room_is_caught(room: str, source: str, library: str) -> None:
    assert libraries_imported(source) == {library}
    assert not may_use(room, library)


# --- hand-written means hand-written ---


def is_jax(expression: ast.AST, names: set[str]) -> bool:
    """Whether an expression is jax or something inside it: `jax.numpy`, `j.api`, `import_module("jax")`."""
    if isinstance(expression, ast.Attribute):
        return is_jax(expression.value, names)
    if isinstance(expression, ast.Call):
        name = imported_by_name(expression) or ""
        about_jax = isinstance(expression.func, ast.Name) and expression.func.id in ("vars", "getattr")
        return name.split(".")[0] == "jax" or (about_jax and is_jax(expression.args[0], names))
    return isinstance(expression, ast.Name) and expression.id in names


def jax_names(tree: ast.AST) -> set[str]:
    """The names that a source text gives to jax and to what is inside it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "jax":
                    names.add(alias.asname or "jax")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jax":
            names |= {alias.asname or alias.name for alias in node.names}
    while True:  # until no assignment such as `j = jax` adds another
        assigned = {
            target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
            and is_jax(node.value, names)
            # What a call or an attribute of jax gives is a value; only jax's own modules are jax.
            and not (isinstance(node.value, ast.Call) and not imported_by_name(node.value))
        }
        if assigned <= names:
            return names
        names |= assigned


def forbidden_text(node: ast.AST) -> str | None:
    named = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return next((part for part in node.value.split(".") if part in AUTODIFF), None) if named else None


def autodiff_names(source: str) -> set[str]:
    """The names by which a source text reaches jax's automatic differentiation."""
    tree = ast.parse(source)
    names, found = jax_names(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jax":
            found |= {alias.name for alias in node.names if alias.name in {*AUTODIFF, "*"}}
        elif isinstance(node, ast.Attribute) and node.attr in AUTODIFF and is_jax(node.value, names):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "getattr",
            "attrgetter",
            "methodcaller",
        ):
            found |= {text for argument in node.args if (text := forbidden_text(argument))}
        elif isinstance(node, ast.Subscript) and is_jax(node.value, names):
            found |= {text} if (text := forbidden_text(node.slice)) else set()
    return found


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) != AUTODIFF_ROOM], ids=name_of)
def test_nothing_differentiates_automatically(path: Path) -> None:
    assert autodiff_names(path.read_text(encoding="utf-8")) == set()


def test_the_proof_does() -> None:
    assert autodiff_names((PACKAGE / f"{AUTODIFF_ROOM}.py").read_text(encoding="utf-8")) == {"grad"}


SMUGGLED = [
    "import jax\ng = jax.{name}(f)",
    "from jax import {name}",
    "from jax import {name} as v",
    "import jax as j\nj.{name}",
    "import jax.numpy as jnp\nimport jax\njax.api.{name}",
    "import jax.numpy\njax.{name}",
    "from jax.api import {name}",
    "from jax._src.api import {name} as hidden",
    "from jax import api\napi.{name}",
    "from jax import api as a\na.{name}",
    "import jax._src.api as api\napi.{name}",
    "import jax\ngetattr(jax, '{name}')",
    "import jax\ndef f():\n    return getattr(jax.api, '{name}', None)",
    "import jax\nj = jax\nj.{name}",
    "import jax\nj = jax\nk = j.api\nk.{name}",
    "import jax\n(j := jax).api\nj.{name}",
    "import jax\njax.__dict__['{name}']",
    "import jax\nvars(jax)['{name}']",
    "import operator, jax\noperator.attrgetter('api.{name}')(jax)",
    "import importlib\nimportlib.import_module('jax').{name}",
    "import importlib\nj = importlib.import_module('jax.api')\nj.{name}",
    "__import__('jax').{name}",
    "def f():\n    import jax\n    return jax.{name}",
    "import jax\n@jax.{name}\ndef f(x): ...",
    "import jax\nfrom functools import partial\npartial(jax.{name}, argnums=1)",
]


@pytest.mark.parametrize("source", SMUGGLED)
def test_autodiff_is_caught_however_it_is_named(source: str) -> None:
    for name in sorted(AUTODIFF):
        assert autodiff_names(source.format(name=name)) == {name}


def test_importing_everything_of_jax_is_caught() -> None:
    assert autodiff_names("from jax import *") == {"*"}


@pytest.mark.parametrize(
    "source",
    [
        "from jaxmlp.backprop import value_and_grad\nvalue_and_grad(net)",
        "import jax\nfrom jaxmlp import backprop\njax.jit(backprop.value_and_grad)",
        "import jaxmlp\njaxmlp.value_and_grad",
        "def value_and_grad(net): ...",
        "__all__ = ['value_and_grad']",
        "import jax.numpy as jnp\ngrad = jnp.zeros(3)\ngrad.sum()",
        "import jax\nkept = jax.tree.map(f, grads)\nkept.grad",
        "'''Nothing here calls jax.grad.'''\n# jax.grad",
        "row.gradient, row.grad",
    ],
)
def test_our_own_names_are_no_false_alarm(source: str) -> None:
    assert autodiff_names(source) == set()


# --- the package as it is imported and shipped ---

HEAVY = ("matplotlib", "tensorflow_datasets", "tensorflow", "sklearn", "pandas", "pooch", "safetensors", "grain")


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import jaxmlp", []),
        ("import jaxmlp.datasets, jaxmlp.plots, jaxmlp.datasets.problem, jaxmlp.saving", []),
        ("import jaxmlp, pooch", ["pooch"]),  # what is loaded would be seen
    ],
)
def test_importing_the_package_stays_light(statement: str, loaded: list[str]) -> None:
    program = f"import sys\n{statement}\nprint([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ast.literal_eval(run.stdout) == loaded


def public_modules() -> list[ModuleType]:
    modules = [importlib.import_module(module_name(path)) for path in MODULES if path.stem == TOP]
    return [module for module in modules if hasattr(module, "__all__")]


def undocumented(thing: Any) -> str | None:
    """What a public thing's documentation lacks."""
    documentation = inspect.getdoc(thing)
    if not documentation:
        return "a docstring"
    is_function = callable(thing) and not inspect.isclass(thing)
    lacks_example = is_function and ("Example:" not in documentation or ">>>" not in documentation)
    return "an example" if lacks_example else None


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_every_public_name_exists_and_is_documented(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__) > 0
    lacking = {name: undocumented(getattr(module, name)) for name in module.__all__}
    assert {name: lack for name, lack in lacking.items() if lack} == {}


def test_the_top_is_among_the_public_modules() -> None:
    assert jaxmlp in public_modules()


def test_a_function_without_documentation_is_caught() -> None:
    def bare() -> None: ...

    def told() -> None:
        """Do it."""

    def promised() -> None:
        """Do it.

        Example: none yet.
        """

    assert [undocumented(thing) for thing in (bare, told, promised)] == ["a docstring"] + ["an example"] * 2
    assert undocumented(jaxmlp.mlp) is None


def test_types_are_shipped() -> None:
    assert importlib.resources.files("jaxmlp").joinpath("py.typed").is_file()
    description = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in description["tool"]["setuptools"]["package-data"]["jaxmlp"]
