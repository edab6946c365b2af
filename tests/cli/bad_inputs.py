"""Every bad input that the programs refuse, and what the one line must say."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from command_runs import write_pets

from jaxmlp import init, mlp, save_model


class BadInput(NamedTuple):
    """A command line that is refused.

    Attributes:
        script: the program's name.
        arguments: what it is given, besides options that keep it brief.
        said: what its line must say: the thing given, and what is allowed or what to do.
    """

    script: str
    arguments: tuple[str, ...]
    said: tuple[str, ...]


def _train(flags: str, *said: str) -> BadInput:
    return BadInput("train", tuple(flags.split()), said)


def _csv(name: str, *said: str, flags: str = "") -> BadInput:
    return _train(f"--dataset {name}.csv --target pet {flags}", *said)


def _npz(name: str, *said: str, flags: str = "") -> BadInput:
    return _train(f"--dataset {name}.npz {flags}", f"'{name}.npz'", *said)


def _predict(run: str, file: str, *said: str, flags: str = "") -> BadInput:
    return BadInput("predict", (run, file, *flags.split()), said)


def _number(flag: str, given: str, *said: str) -> BadInput:
    return _train(f"--{flag} {given}", *(said or (f"given {given}",)))


RATE = "the learning rate must be a finite number above 0"

BAD_INPUTS: dict[str, BadInput] = {
    # Unknown names, each with the nearest right one.
    "data set": _train("--dataset digit", "unknown data set 'digit': did you mean 'digits'?", "moons"),
    "activation": _train("--activation rlu", "unknown activation 'rlu': did you mean 'relu'?"),
    "initialiser": _train("--init he_norml", "unknown initialiser 'he_norml': did you mean 'he_normal'?"),
    "bias initialiser": _train("--bias-init zero", "unknown initialiser 'zero': did you mean 'zeros'?"),
    "initialiser for weights alone": _train("--bias-init he_normal", "'he_normal'", "choose one of normal"),
    "loss": _train("--loss softmax", "unknown loss 'softmax': did you mean 'softmax_cross_entropy'?"),
    "optimiser": _train("--optimizer sdg", "unknown optimiser 'sdg': did you mean 'sgd'?"),
    "schedule": _train("--schedule cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
    "device": _train("--device gup", "device 'gup' is not there: this machine has", "or auto"),
    "device that is not there": _train("--device cpu:99", "device 'cpu:99' is not there: this machine has"),
    "precision": _train("--precision float46", "unknown precision 'float46': did you mean 'float64'?"),
    "task": _csv("pets", "unknown task 'regresion': did you mean 'regression'?", flags="--task regresion"),
    "scaling": _train("--scaling standardize", "'standardize': did you mean 'standardise'?"),
    "missing": _csv("pets", "'imput': did you mean 'impute'?", "refuse", flags="--missing imput"),
    "target": _train("--dataset pets.csv --target pte", "'pte': did you mean 'pet'?"),
    "option": _train("--activaton relu", "unrecognized arguments: --activaton relu", "--help"),
    "parameter of a name": _train("--activation relu:2", "takes no parameter", "write 'relu'"),
    # Numbers out of range.
    "batch size 0": _number("batch-size", "0", "--batch-size must be at least 1, given 0", "full"),
    "batch size below 0": _number("batch-size", "-3", "--batch-size must be at least 1, given -3"),
    "batch size of a part": _number("batch-size", "1.5", "'1.5' is neither a whole number nor full"),
    "learning rate nan": _number("learning-rate", "nan", f"{RATE}, given nan"),
    "learning rate inf": _number("learning-rate", "inf", f"{RATE}, given inf"),
    "learning rate 0": _number("learning-rate", "0", f"{RATE}, given 0"),
    "learning rate below 0": _number("learning-rate", "-1", f"{RATE}, given -1"),
    "learning rate beyond float32": _number("learning-rate", "1e300", "at most 3.4e+38, given 1e+300"),
    "learning rate no number": _number(
        "learning-rate", "fast", "--learning-rate: invalid float value: 'fast'"
    ),
    "hidden 0": _number("hidden", "0", "--hidden takes sizes of at least 1, given 0"),
    "hidden below 0": _number("hidden", "-2", "--hidden takes sizes of at least 1, given -2"),
    "hidden no number": _number("hidden", "x", "--hidden: invalid int value: 'x'"),
    "hidden beyond memory": _number("hidden", "99999999999999", "99999999999999", "choose smaller sizes"),
    "epochs 0": _number("epochs", "0", "--epochs must be at least 1, given 0"),
    "epochs no whole number": _number("epochs", "1.5", "--epochs: invalid int value: '1.5'"),
    "l2 below 0": _number("l2", "-0.1", "--l2 must be a number from 0 to", "given -0.1"),
    "l2 nan": _number("l2", "nan", "--l2 must be a number from 0 to", "given nan"),
    "initial scale 0": _number("init-scale", "0", "--init-scale must be a number above 0, given 0"),
    "target accuracy in percent": _number("target-accuracy", "98", "given 98: write 0.98 for 98 %"),
    "target accuracy of a regression": _train(
        "--dataset sine --target-accuracy 0.9", "a regression has no accuracy: leave it out"
    ),
    "seed below 0": _number("seed", "-1", "--seed must lie in 0 to 4294967295, given -1"),
    "clip norm 0": _number("clip-norm", "0", "must be above 0, given 0"),
    "validation of all": _number("validation", "1", "at least 0 and below 1, given 1: try 0.1"),
    "test fraction of all": _number("test-fraction", "1", "outside (0, 1): give a share such as 0.2"),
    "noise below 0": _train("--dataset moons --noise -1", "noise -1.0", "finite number, 0 or more"),
    "too few examples": _train("--dataset moons --examples 3", "3 example(s) are too few for 'moons'"),
    "checkpoints every -1 epochs": _number("checkpoint-every", "-1", "must be at least 0, given -1"),
    "no checkpoint kept": _number("keep", "0", "--keep must be at least 1, given 0"),
    "patience 0": _train("--validation 0.2 --patience 0", "patience must be at least 1 epoch, given 0"),
    "min improvement below 0": _number("min-improvement", "-1", "at least 0, given -1"),
    "time limit 0": _number("time-limit", "0", "the time limit must be above 0 seconds, given 0"),
    "time limit nan": _number("time-limit", "nan", "above 0 seconds, given nan"),
    "nothing of that name to watch": _train("--monitor score_", "'score_': did you mean 'score'?", "loss"),
    # Options that do not fit together.
    "patience without a validation part": _train(
        "--patience 3", "--patience watches a validation part: hold one out with --validation 0.2"
    ),
    "loss of another task": _train(
        "--dataset sine --loss softmax_cross_entropy", "does not fit a regression", "mean_squared_error"
    ),
    "labels for a loss of classes": _npz(
        "fractions", "does not fit a regression", flags="--loss softmax_cross_entropy"
    ),
    "option of another data set": _train("--examples 50", "'examples' does not apply to data set 'digits'"),
    "no target": _train("--dataset pets.csv", "needs a target column", "hue, size, age, pet"),
    # Data that cannot be trained on.
    "no such file": _csv("nowhere", "file 'nowhere.csv' does not exist: check its name and folder"),
    "a folder for a file": _csv("folder", "'folder.csv' is a folder: give a file that ends in .csv or .npz"),
    "an unknown ending": _train("--dataset notes.txt", "ends in '.txt': give one that ends in .csv or .npz"),
    "an empty csv": _csv("empty", "file 'empty.csv' is empty: the first line names the columns"),
    "a csv without rows": _csv("header", "'header.csv' is empty (0 rows", "give at least one row"),
    "a truncated csv": _csv("cut", "'cut.csv' has 1 fields in line 41 and 4 in its first: is it cut off?"),
    "a csv that is no text": _csv("latin", "'latin.csv' is not UTF-8 text: save it as csv in UTF-8"),
    "a csv with a gap": _csv("gap", "'gap.csv' has missing values in 'hue' (4), 'age' (6)", "fill them"),
    "a csv with an infinite feature": _csv(
        "infinite", "'infinite.csv'", "NaN or infinite", "'size'", "remove"
    ),
    "a csv of a single class": _csv("single", "'single.csv' has 1 class: classification needs at least 2"),
    "text for numbers": _csv("pets", "has text targets", "wants numbers", flags="--task regression"),
    "an empty set": _npz("empty", "is empty (0 examples): give at least one example"),
    "NaN among features": _npz("nan", "NaN or infinite", "feature 2", "remove or replace"),
    "infinity among features": _npz("infinite", "NaN or infinite", "feature 2", "remove or replace"),
    "a feature beyond float32": _npz("large", "NaN or infinite", "feature 2", "remove or replace"),
    "NaN among targets": _npz("lost", "a target that is NaN or infinite", "remove or replace"),
    "more features than labels": _npz("short", "has 40 rows of features and 39 targets: give one target"),
    "features of one axis": _npz("flat", "has features of shape (40,): give [N, I]"),
    "targets of three axes": _npz("deep", "has targets of shape (40, 2, 2): give [N] classes or [N, K]"),
    "parts of other widths": _npz("uneven", "(30, 5)", "(10, 4)", "give both parts alike"),
    "labels that are not whole": _npz(
        "fractions",
        "has targets that are not whole numbers (0.5): choose task 'regression', or give whole numbers",
        flags="--task classification",
    ),
    "labels other than 0 and 1": _npz("twos", "targets other than 0 and 1", flags="--task multilabel"),
    "a pickle in an npz": _npz("pickle", "holds pickled Python objects under 'targets'", "never loaded"),
    "a truncated npz": _npz("cut", "is not a whole .npz file: save it again with numpy.savez"),
    "an altered npz": _npz("altered", "is not a whole .npz file: save it again with numpy.savez"),
    "an npz of no bytes": _npz("nothing", "is not a whole .npz file: save it again with numpy.savez"),
    "arrays of other names": _npz("names", "has the arrays a, b: give 'inputs' and 'targets'"),
    "no archives by hand": _train(
        "--dataset mnist --data-dir prepared --manual-dir manual",
        "manual folder 'manual' holds none of the archives of 'mnist'",
        "train-images-idx3-ubyte.gz",
    ),
    # Folders and files to write.
    "a folder that holds a run": _train(
        "--out run", "run holds a run already: choose another folder with --out"
    ),
    "a file in the way": _train("--out notes.txt", "the run folder notes.txt cannot be written", "--out"),
    "a file in the way above": _train("--out notes.txt/run", "notes.txt/run cannot be written", "--out"),
    "no folder": BadInput("train", ("--out", ""), ("--out names no folder: give one",)),
    # Prediction.
    "no run": _predict("nowhere", "pets.csv", "no run at nowhere: give a run folder"),
    "a folder without a run": _predict(
        "folder.csv", "pets.csv", "no model file at folder.csv/model.safetensors"
    ),
    "a truncated model": _predict(
        "cut.safetensors", "pets.csv", "cut.safetensors is no whole jaxmlp model file"
    ),
    "a model that is none": _predict("notes.txt", "pets.csv", "notes.txt is no whole jaxmlp model file"),
    "a model of another program": _predict(
        "bare.safetensors", "pets.csv", "was not saved by jaxmlp train", "jaxmlp.load_model"
    ),
    "a column that lacks": _predict("run", "narrow.csv", "lacks the columns 'age'", "'hue', 'size'"),
    "another number of features": _predict("run", "wide.npz", "has 7 features, the network takes 5"),
    "an unknown category": _predict("run", "green.csv", "'green' in column 'hue'", "'blue', 'grey', 'red'"),
    "text in a column of numbers": _predict("run", "text.csv", "'old' in column 'age'", "give numbers there"),
    "a gap to predict from": _predict(
        "run", "gap.csv", "missing values in 'hue' (4), 'age' (6)", "fill them"
    ),
    "nothing to predict from": _predict("run", "header.csv", "is empty", "give at least one row"),
    "no file to predict from": _predict("run", "nowhere.csv", "file 'nowhere.csv' does not exist"),
    "a device to predict on": _predict("run", "pets.csv", "device 'gup' is not there", flags="--device gup"),
    "no folder for predictions": _predict(
        "run", "pets.csv", "the folder of no/where.csv is not there: make it", flags="--out no/where.csv"
    ),
    "a folder for predictions": _predict(
        "run", "pets.csv", "'folder.csv' is no file", flags="--out folder.csv"
    ),
    "no file named": BadInput("predict", ("run",), ("arguments are required: FILE", "--help")),
    # Comparison.
    "no run to compare": BadInput("compare", ("run", "nowhere"), ("no run at nowhere: give the folder",)),
    "nothing to compare": BadInput("compare", (), ("arguments are required: RUN", "--help")),
    "a file for a run": BadInput("compare", ("run", "notes.txt"), ("no run at notes.txt: give the folder",)),
    "a folder without a run to compare": BadInput(
        "compare", ("folder.csv",), ("folder.csv holds no run (it has no config.json): give",)
    ),
    "a run given twice": BadInput("compare", ("run", "./run"), ("run is given twice: give each run once",)),
    "a sweep to compare": BadInput(
        "compare", ("run", "sweep"), ("sweep is a run of jaxmlp sweep", "give runs of jaxmlp train")
    ),
    "a configuration that is none": BadInput(
        "compare",
        ("cut run",),
        ("cut run/config.json does not describe a run of jaxmlp train", "give the folder"),
    ),
    "a configuration of something else": BadInput(
        "compare", ("other",), ("other/config.json does not describe a run of jaxmlp train (KeyError)",)
    ),
    "a table of something else": BadInput(
        "compare",
        ("no table",),
        ("no table/metrics.csv lacks the column train_accuracy", "begin the run again"),
    ),
    "a picture of no known kind": BadInput(
        "compare", ("run", "--out", "a.gif"), ("--out 'a.gif' is no picture's name: end it in .png",)
    ),
    "no folder for a picture": BadInput(
        "compare", ("run", "--out", "no/a.png"), ("the folder of no/a.png is not there: make it",)
    ),
    "a picture over a run's own": BadInput(
        "compare", ("run", "--out", "run/curves.png"), ("run/curves.png lies in the run folder run", "--out")
    ),
    # The other programs.
    "sizes of another data set": BadInput(
        "gradcheck",
        ("--dataset", "digits", "--sizes", "64", "5"),
        ("--sizes must begin with 64 and end with 10 for 'digits'", "given 64 5"),
    ),
    "a single size": BadInput("gradcheck", ("--sizes", "3"), ("at least inputs and outputs", "given [3]")),
    "no entries": BadInput("gradcheck", ("--entries", "0"), ("--entries must be at least 1", "0")),
    "a negative seed": BadInput("gradcheck", ("--seed", "-1"), ("--seed must lie in 0 to", "given -1")),
    "an unknown hyper-parameter": BadInput(
        "sweep", ("--grid", "lerning_rate=1"), ("'lerning_rate': did you mean 'learning_rate'?",)
    ),
    "a grid beyond all measure": BadInput(
        "sweep", ("--grid", "seed=0..999999999"), ("at most 100,000 networks", "1,000,000,000")
    ),
    "a product of grids beyond all measure": BadInput(
        "sweep", ("--grid", "seed=0..999", "batch_size=1..1000"), ("at most 100,000 networks", "1,000,000")
    ),
    "nothing to draw from": BadInput("sweep", ("--random", "8"), ("--random begins with a number", "'8'")),
    "a momentum of sgd": BadInput(
        "sweep", ("--grid", "momentum=0.9"), ("not to 'sgd'", "--optimizer momentum")
    ),
    "nothing to rank on": BadInput("sweep", ("--validation", "0"), ("--validation", "given 0: try 0.2")),
    "fewer than no networks to check": BadInput(
        "sweep", ("--resume", "run", "--check", "-1"), ("--check must be at least 0, given -1",)
    ),
    "a network that scikit-learn lacks": BadInput(
        "sweep", ("--activation", "gelu", "--against", "sklearn"), ("scikit-learn has no", "'gelu'", "relu")
    ),
    "a sweep that is not there": BadInput("sweep", ("--resume", "nowhere"), ("no sweep at nowhere",)),
    "a run that is no sweep": BadInput("sweep", ("--resume", "run"), ("run holds no sweep",)),
    "more folds than examples": BadInput(
        "sweep", ("--dataset", "pets.csv", "--target", "pet", "--folds", "99"), ("folds must number from 2",)
    ),
    "a negative strength": BadInput("gradcheck", ("--l2", "-1"), ("--l2 must be a finite number", "-1")),
    "no repeats": BadInput("benchmark", ("--repeats", "0"), ("--repeats must be at least 1, given 0",)),
    "a quick benchmark of chosen cases": BadInput(
        "benchmark",
        ("--quick", "--cases", "tabular", "--repeats", "3"),
        ("--quick sets --cases and --repeats",),
    ),
    "an unknown case": BadInput("benchmark", ("--cases", "mnist_30"), ("did you mean 'mnist_300'?",)),
    "an unknown peer": BadInput("benchmark", ("--peers", "nump"), ("did you mean 'numpy'?",)),
    "a benchmark of another optimiser": BadInput(
        "benchmark", ("--optimizers", "sdg"), ("unknown optimiser", "did you mean 'sgd'?")
    ),
    "a benchmark of nothing": BadInput("benchmark", ("--cases",), ("at least one name each",)),
    "a precision that peers lack": BadInput(
        "benchmark", ("--precision", "float64"), ("precision of the benchmark 'float64'", "float32")
    ),
    "a growth of nothing known": BadInput("growth", ("--vary", "widht"), ("did you mean 'width'?",)),
    "a growth of nothing": BadInput("growth", ("--vary",), ("--vary needs at least one name",)),
    "no time for a point": BadInput("growth", ("--longest", "0"), ("--longest must be above 0 seconds",)),
    "no folder for a growth": BadInput("growth", ("--out", "no/x.json"), ("the folder of no/x.json is not",)),
    "no results to report": BadInput("report", ("--results", "none"), ("none holds none of",)),
    "no second run": BadInput("startup", ("--repeats", "0"), ("--repeats must be at least 1, given 0",)),
    "no folder for a measurement": BadInput(
        "startup", ("--out", "no/x.json"), ("the folder of no/x.json is not there: make it",)
    ),
    "a folder for a result's file": BadInput("growth", ("--out", "."), ("--out '.' is no file", "json")),
    "no folder for a result": BadInput(
        "benchmark", ("--out", "no/x.json"), ("the folder of no/x.json is not",)
    ),
}


def write_bad_files(folder: Path, run: Path) -> None:
    """Write everything that the bad inputs name: damaged files, and a run that must survive them.

    Args:
        folder: where.
        run: a finished run on pets.csv.
    """
    shutil.copytree(run, folder / "run")
    (folder / "folder.csv").mkdir()
    (folder / "manual").mkdir()
    (folder / "notes.txt").write_text("not to be lost\n")
    _write_tables(folder)
    _write_arrays(folder)
    _write_runs(folder, run)
    model = (run / "model.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(model[: len(model) // 2])
    net = mlp([5, 2])
    save_model(folder / "bare.safetensors", net, init(net, jax.random.key(0)))


def _write_runs(folder: Path, run: Path) -> None:
    config = (run / "config.json").read_text(encoding="utf-8")
    configs = {
        "cut run": config[: len(config) // 2],
        "other": "{}",
        "no table": config,
        "sweep": '{"options": {"grid": [], "hidden": [4]}, "machine": {}}',
    }
    for name, text in configs.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text, encoding="utf-8")
    (folder / "no table/metrics.csv").write_text("epoch,train_loss\n1,0.5\n", encoding="utf-8")


def _write_tables(folder: Path) -> None:
    text = write_pets(folder / "pets.csv").read_text(encoding="utf-8")
    write_pets(folder / "gap.csv", gaps=True)
    changes: dict[str, Callable[[str], str]] = {
        "empty": lambda text: "",
        "header": lambda text: text.partition("\n")[0] + "\n",
        "cut": lambda text: text[: text.rindex(",9.5")],
        "infinite": lambda text: text.replace(",3.5,", ",inf,", 1),
        "single": lambda text: text.replace("dog", "cat"),
        "narrow": lambda text: "\n".join(line.rsplit(",", 2)[0] for line in text.splitlines()),
        "green": lambda text: text.replace("blue", "green"),
        "text": lambda text: text.replace(",4,", ",old,"),
    }
    for name, change in changes.items():
        (folder / f"{name}.csv").write_text(change(text), encoding="utf-8")
    (folder / "latin.csv").write_bytes(text.replace("hue", "couleur\xe9").encode("latin-1"))


def _write_arrays(folder: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(40, 5))
    labels = np.arange(40) % 2
    nan, infinite, large, lost = inputs.copy(), inputs.copy(), inputs.copy(), inputs[:, 0].copy()
    nan[3, 2], infinite[3, 2], large[3, 2], lost[7] = np.nan, -np.inf, 1e300, np.nan
    whole = {
        "good": (inputs, labels),
        "empty": (inputs[:0], labels[:0]),
        "nan": (nan, labels),
        "infinite": (infinite, labels),
        "large": (large, labels),
        "lost": (inputs, lost),
        "short": (inputs, labels[:-1]),
        "flat": (inputs[:, 0], labels),
        "deep": (inputs, np.zeros((40, 2, 2))),
        "fractions": (inputs, labels + 0.5),
        "twos": (inputs, np.stack([labels * 2, 1 - labels], axis=1)),
        "pickle": (inputs, np.array([{"a": 1}] * 40, dtype=object)),
        "wide": (np.ones((4, 7)), np.zeros(4)),
    }
    for name, (features, targets) in whole.items():
        np.savez(folder / f"{name}.npz", inputs=features, targets=targets)
    np.savez(folder / "names.npz", a=inputs, b=labels)
    np.savez(
        folder / "uneven.npz",
        x_train=inputs[:30],
        y_train=labels[:30],
        x_test=inputs[30:, :4],
        y_test=labels[30:],
    )
    content = (folder / "good.npz").read_bytes()
    (folder / "nothing.npz").write_bytes(b"")
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    altered = bytearray(content)
    altered[300] ^= 255
    (folder / "altered.npz").write_bytes(bytes(altered))
