"""What every file of the package imports, names and measures, read from the syntax trees."""

import ast
import importlib
import importlib.resources
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jaxmlp

PACKAGE = Path(jaxmlp.__file__).parent

# The one ordered list: a room, which is a file or a folder of the package, imports only rooms of lines above its own.
ORDER = """
door
types
files registry
plots
activations losses initializers
layers checks
network datasets
backprop
gradcheck training
sweep saving
estimators
__init__
cli
__main__
"""
PLACE = {room: place for place, line in enumerate(ORDER.split("\n")) for room in line.split()}
TOP = "__init__"  # the public list

# Which rooms may import what, besides the standard library and these.
LIBRARIES_EVERYWHERE = {"jax", "jaxtyping", "numpy"}
LIBRARIES: dict[str, set[str]] = {
    "matplotlib": {"plots"},
    "PIL": {"plots", "datasets"},  # comes with matplotlib; folders of images
    "h5py": {"datasets"},
    "optax": {"training", "sweep"},
    "safetensors": {"saving"},
    "tensorflow_datasets": {"datasets"},
    "array_record": {"datasets"},
    "sklearn": {"datasets", "estimators", "cli"},  # cli: the scores of a run
    "pandas": {"datasets", "estimators", "cli"},  # cli: the table that predict writes
    "pooch": {"datasets"},
    "requests": {"datasets"},
    "filelock": {"cli"},
    "tqdm": {"cli"},
    "tensorboardX": {"cli"},
}

# The exported functions of keywords, which alone may take more than so many parameters.
MOST_PARAMETERS, MOST_LINES = 8, 450
DOORS = {
    *("check_gradients", "evaluate", "fit", "load", "loss", "make_optimizer", "mlp"),
    *("save_model", "sweep", "tabular", "trace", "train_epoch", "train_step", "value_and_grad"),
}

# --- the names that differentiate automatically, and the one room that may use them ---

AUTODIFF = {
    *(
        "grad",
        "value_and_grad",
        "vjp",
        "jvp",
        "linearize",
        "linear_transpose",
        "jacfwd",
        "jacrev",
        "jacobian",
    ),
    *("hessian", "custom_vjp", "custom_jvp", "custom_gradient", "check_grads", "jet", "ad"),
}
BY_TEXT = ("getattr", "attrgetter", "methodcaller")
AUTODIFF_ROOM = "gradcheck"

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def package_of(path: Path) -> str:
    return ".".join(("jaxmlp", *path.relative_to(PACKAGE).parts[:-1]))


def source_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


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
            found.add(rest[0] if rest and rest[0] in PLACE else TOP)
    return found


def libraries_imported(source: str, package: str = "jaxmlp") -> set[str]:
    first_parts = {name.split(".")[0] for name in imports(source, package)}
    return first_parts - set(sys.stdlib_module_names) - {"jaxmlp"}


def may_import(room: str, other: str) -> bool:
    return room == other or PLACE[other] < PLACE[room]


def may_use(room: str, library: str) -> bool:
    return library in LIBRARIES_EVERYWHERE or room in LIBRARIES.get(library, set())


def circle(folder: dict[str, str], package: str) -> list[str]:
    """A circle of imports among the files of a folder, given by name with their sources; empty where there is none."""
    inside = {f"{package}.{name}": name for name in folder}
    edges = {
        name: {
            other
            for module, other in inside.items()
            if other != name
            and any(f"{found}.".startswith(f"{module}.") for found in imports(source, package))
        }
        for name, source in folder.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_list_names_every_room() -> None:
    assert {room_of(path) for path in MODULES} <= {*PLACE}


def test_a_room_imports_only_what_stands_before_it() -> None:
    found = {
        f"{name_of(path)} {other}"
        for path in MODULES
        for other in rooms_imported(source_of(path), package_of(path))
        if not may_import(room_of(path), other)
    }
    assert found == set()


def test_a_library_is_imported_only_where_it_belongs() -> None:
    found = {
        f"{name_of(path)} {library}"
        for path in MODULES
        for library in libraries_imported(source_of(path), package_of(path))
        if not may_use(room_of(path), library)
    }
    assert found == set()


def test_no_folder_imports_in_a_circle() -> None:
    folders = {path.parent for path in MODULES} - {PACKAGE}
    sources = {
        folder: {path.stem: source_of(path) for path in folder.glob("*.py") if path.stem != TOP}
        for folder in folders
    }
    found = {folder.name: circle(files, package_of(folder / "x.py")) for folder, files in sources.items()}
    assert {folder: way for folder, way in found.items() if way} == {}


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
        ("activations", "from .layers import Dense", "layers"),
        ("types", "from jaxmlp.registry import Registry", "registry"),
        ("saving", "from jaxmlp.sweep.sweep import sweep", "sweep"),
        ("sweep", "from jaxmlp.saving import write_checkpoint", "saving"),
        ("training", "from jaxmlp.cli.run import Run", "cli"),
        ("plots", "from ..network import mlp", "network"),
        ("datasets", "from .. import network", "network"),
    ],
)
def test_an_import_against_the_order_is_caught(room: str, source: str, seen: str) -> None:
    assert rooms_imported(source, f"jaxmlp.{room}" if ".." in source else "jaxmlp") == {seen}
    assert not may_import(room, seen)


@pytest.mark.parametrize(
    ("sources", "length"),
    [
        ({"a": "from jaxmlp.room.b import f", "b": "from jaxmlp.room import a"}, 3),
        ({"a": "from .b import f", "b": "from .c import f", "c": "def g():\n    import jaxmlp.room.a"}, 4),
        ({"a": "from .b import f", "b": "from .c import f", "c": "from jaxmlp.room2.a import f"}, 0),
    ],
)
def test_a_circle_is_caught(sources: dict[str, str], length: int) -> None:
    assert len(circle(sources, "jaxmlp.room")) == length


@pytest.mark.parametrize(
    ("room", "source", "library"),
    [
        ("training", "import matplotlib.pyplot as plt", "matplotlib"),
        ("training", "def f():\n    from sklearn.metrics import r2_score", "sklearn"),
        ("network", "import optax", "optax"),
        ("plots", "import pandas as pd", "pandas"),
        ("backprop", "import tensorflow_datasets as tfds", "tensorflow_datasets"),
        ("training", "import safetensors.numpy", "safetensors"),
        ("training", "def f():\n    import grain", "grain"),
        ("backprop", "import torch", "torch"),
        (TOP, "import pooch", "pooch"),
    ],
)
def test_a_library_in_the_wrong_room_is_caught(room: str, source: str, library: str) -> None:
    assert libraries_imported(source) == {library}
    assert not may_use(room, library)


# --- how large things are ---


def long_functions(source: str) -> set[str]:
    """The functions of a source text, but for the doors, that take too many parameters; self counts as none."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = len([argument for argument in given if argument.arg not in ("self", "cls")])
            name = getattr(node, "name", "lambda")
            if count > MOST_PARAMETERS and name not in DOORS:
                found.add(name)
    return found


def test_no_function_but_the_doors_takes_many_parameters() -> None:
    assert {*jaxmlp.__all__, "load", "sweep"} >= DOORS
    found = {f"{name_of(path)} {name}" for path in MODULES for name in long_functions(source_of(path))}
    assert found == set()


def test_no_file_is_long() -> None:
    found = {name_of(path) for path in MODULES if source_of(path).count("\n") > MOST_LINES}
    assert found == set()


@pytest.mark.parametrize(("count", "found"), [(8, set()), (9, {"f", "lambda"})])
def test_too_many_parameters_are_caught(count: int, found: set[str]) -> None:
    names = ", ".join(f"p{place}" for place in range(count))
    assert long_functions(f"class A:\n  def f(self, {names}): return lambda {names}: 0") == found
    assert long_functions(f"def f(a, *, {names[4:]}): lambda *, {names}: 0") == found
    assert long_functions(f"def fit({names}): ...") == set()


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
        elif (
            isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in BY_TEXT
        ):
            found |= {text for argument in node.args if (text := forbidden_text(argument))}
        elif isinstance(node, ast.Subscript) and is_jax(node.value, names):
            found |= {text} if (text := forbidden_text(node.slice)) else set()
    return found


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) != AUTODIFF_ROOM], ids=name_of)
def test_nothing_differentiates_automatically(path: Path) -> None:
    assert autodiff_names(source_of(path)) == set()


def test_the_proof_does() -> None:
    assert autodiff_names(source_of(PACKAGE / f"{AUTODIFF_ROOM}.py")) == {"grad"}


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

HEAVY = [
    library for library in LIBRARIES if library not in ("optax", "filelock", "tqdm")
]  # optax and jax load these


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


def test_types_are_shipped() -> None:
    assert importlib.resources.files("jaxmlp").joinpath("py.typed").is_file()
    description = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in description["tool"]["setuptools"]["package-data"]["jaxmlp"]
