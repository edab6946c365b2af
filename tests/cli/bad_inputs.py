"""Every bad input that the programs refuse, and what the one line must say."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from command_runs import write_pets

from jaxmlp import init, mlp, save_model


class BadInput(NamedTuple):
    """A command line that is refused."""

    script: str
    arguments: tuple[str, ...]  # besides options that keep it brief
    said: tuple[str, ...]  # what its line must say: the thing given, and what is allowed or what to do


# A command, and what its line must say between bars; a line that begins with a bar belongs to the one above.
CASES = r"""
# Unknown names, each with the nearest right one.
train --dataset digit | unknown data set 'digit': did you mean 'digits'? | moons
train --activation rlu | unknown activation 'rlu': did you mean 'relu'?
train --init he_norml | unknown initialiser 'he_norml': did you mean 'he_normal'?
train --bias-init zero | unknown initialiser 'zero': did you mean 'zeros'?
train --bias-init he_normal | 'he_normal' | choose one of normal
train --loss softmax | unknown loss 'softmax': did you mean 'softmax_cross_entropy'?
train --optimizer sdg | unknown optimiser 'sdg': did you mean 'sgd'?
train --schedule cosin | unknown schedule 'cosin': did you mean 'cosine'?
train --device gup | device 'gup' is not there: this machine has | or auto
train --device cpu:99 | device 'cpu:99' is not there: this machine has
train --precision float46 | unknown precision 'float46': did you mean 'float64'?
train --dataset pets.csv --target pet --task regresion | unknown task 'regresion': did you mean 'regression'?
train --scaling standardize | 'standardize': did you mean 'standardise'?
train --dataset pets.csv --target pet --missing imput | 'imput': did you mean 'impute'? | refuse
train --dataset pets.csv --target pte | 'pte': did you mean 'pet'?
train --activaton relu | unrecognized arguments: --activaton relu | --help
train --activation relu:2 | takes no parameter | write 'relu'
# Numbers out of range.
train --batch-size 0 | --batch-size must be at least 1, given 0 | full
train --batch-size -3 | --batch-size must be at least 1, given -3
train --batch-size 1.5 | '1.5' is neither a whole number nor full
train --learning-rate nan | the learning rate must be a finite number above 0, given nan
train --learning-rate inf | the learning rate must be a finite number above 0, given inf
train --learning-rate 0 | the learning rate must be a finite number above 0, given 0
train --learning-rate -1 | the learning rate must be a finite number above 0, given -1
train --learning-rate 1e300 | at most 3.4e+38, given 1e+300
train --learning-rate fast | --learning-rate: invalid float value: 'fast'
train --hidden 0 | --hidden takes sizes of at least 1, given 0
train --hidden -2 | --hidden takes sizes of at least 1, given -2
train --hidden x | --hidden: invalid int value: 'x'
train --hidden 99999999999999 | 99999999999999 | choose smaller sizes
train --epochs 0 | --epochs must be at least 1, given 0
train --epochs 1.5 | --epochs: invalid int value: '1.5'
train --l2 -0.1 | --l2 must be a number from 0 to | given -0.1
train --l2 nan | --l2 must be a number from 0 to | given nan
train --init-scale 0 | --init-scale must be a number above 0, given 0
train --target-accuracy 98 | given 98: write 0.98 for 98 %
train --dataset sine --target-accuracy 0.9 | a regression has no accuracy: leave it out
train --seed -1 | --seed must lie in 0 to 4294967295, given -1
train --clip-norm 0 | must be above 0, given 0
train --validation 1 | at least 0 and below 1, given 1: try 0.1
train --test-fraction 1 | outside (0, 1): give a share such as 0.2
train --dataset moons --noise -1 | noise -1.0 | finite number, 0 or more
train --dataset moons --examples 3 | 3 example(s) are too few for 'moons'
train --checkpoint-every -1 | must be at least 0, given -1
train --keep 0 | --keep must be at least 1, given 0
train --validation 0.2 --patience 0 | patience must be at least 1 epoch, given 0
train --min-improvement -1 | at least 0, given -1
train --time-limit 0 | the time limit must be above 0 seconds, given 0
train --time-limit nan | above 0 seconds, given nan
train --monitor score_ | 'score_': did you mean 'score'? | loss
# Options that do not fit together.
train --patience 3 | --patience watches a validation part: hold one out with --validation 0.2
train --dataset sine --loss softmax_cross_entropy | does not fit a regression | mean_squared_error
train --dataset fractions.npz --loss softmax_cross_entropy | 'fractions.npz' | does not fit a regression
train --examples 50 | 'examples' does not apply to data set 'digits'
train --dataset pets.csv | needs a target column | hue, size, age, pet
# Data that cannot be trained on.
train --dataset nowhere.csv --target pet | file 'nowhere.csv' does not exist: check its name and folder
train --dataset folder.csv --target pet | 'folder.csv' is a folder: give a file that ends in .csv or .npz
train --dataset notes.txt | ends in '.txt': give one that ends in .csv or .npz
train --dataset empty.csv --target pet | file 'empty.csv' is empty: the first line names the columns
train --dataset header.csv --target pet | 'header.csv' is empty (0 rows | give at least one row
train --dataset cut.csv --target pet | 'cut.csv' has 1 fields in line 41 and 4 in its first: is it cut off?
train --dataset latin.csv --target pet | 'latin.csv' is not UTF-8 text: save it as csv in UTF-8
train --dataset gap.csv --target pet | 'gap.csv' has missing values in 'hue' (4), 'age' (6) | fill them
train --dataset infinite.csv --target pet | 'infinite.csv' | NaN or infinite | 'size' | remove
train --dataset single.csv --target pet | 'single.csv' has 1 class: classification needs at least 2
train --dataset pets.csv --target pet --task regression | has text targets | wants numbers
train --dataset empty.npz | 'empty.npz' | is empty (0 examples): give at least one example
train --dataset nan.npz | 'nan.npz' | NaN or infinite | feature 2 | remove or replace
train --dataset infinite.npz | 'infinite.npz' | NaN or infinite | feature 2 | remove or replace
train --dataset large.npz | 'large.npz' | NaN or infinite | feature 2 | remove or replace
train --dataset lost.npz | 'lost.npz' | a target that is NaN or infinite | remove or replace
train --dataset short.npz | 'short.npz' | has 40 rows of features and 39 targets: give one target
train --dataset flat.npz | 'flat.npz' | has features of shape (40,): give [N, I]
train --dataset deep.npz | 'deep.npz' | has targets of shape (40, 2, 2): give [N] classes or [N, K]
train --dataset uneven.npz | 'uneven.npz' | (30, 5) | (10, 4) | give both parts alike
train --dataset fractions.npz --task classification | 'fractions.npz'
    | has targets that are not whole numbers (0.5): choose task 'regression', or give whole numbers
train --dataset twos.npz --task multilabel | 'twos.npz' | targets other than 0 and 1
train --dataset pickle.npz | 'pickle.npz' | holds pickled Python objects under 'targets' | never loaded
train --dataset cut.npz | 'cut.npz' | is not a whole .npz file: save it again with numpy.savez
train --dataset altered.npz | 'altered.npz' | is not a whole .npz file: save it again with numpy.savez
train --dataset nothing.npz | 'nothing.npz' | is not a whole .npz file: save it again with numpy.savez
train --dataset names.npz | 'names.npz' | has the arrays a, b: give 'inputs' and 'targets'
train --dataset mnist --data-dir prepared --manual-dir manual
    | manual folder 'manual' holds none of the archives of 'mnist' | train-images-idx3-ubyte.gz
# Folders and files to write.
train --out run | run holds a run already: choose another folder with --out
train --out notes.txt | the run folder notes.txt cannot be written | --out
train --out notes.txt/run | notes.txt/run cannot be written | --out
train --out '' | --out names no folder: give one
# Prediction.
predict nowhere pets.csv | no run at nowhere: give a run folder
predict folder.csv pets.csv | no model file at folder.csv/model.safetensors
predict cut.safetensors pets.csv | cut.safetensors is no whole jaxmlp model file
predict notes.txt pets.csv | notes.txt is no whole jaxmlp model file
predict bare.safetensors pets.csv | was not saved by jaxmlp train | jaxmlp.load_model
predict run narrow.csv | lacks the columns 'age' | 'hue', 'size'
predict run wide.npz | has 7 features, the network takes 5
predict run green.csv | 'green' in column 'hue' | 'blue', 'grey', 'red'
predict run text.csv | 'old' in column 'age' | give numbers there
predict run gap.csv | missing values in 'hue' (4), 'age' (6) | fill them
predict run header.csv | is empty | give at least one row
predict run nowhere.csv | file 'nowhere.csv' does not exist
predict run pets.csv --device gup | device 'gup' is not there
predict run pets.csv --out no/where.csv | the folder of no/where.csv is not there: make it
predict run pets.csv --out folder.csv | 'folder.csv' is no file
predict run | arguments are required: FILE | --help
# Comparison.
compare run nowhere | no run at nowhere: give the folder
compare | arguments are required: RUN | --help
compare run notes.txt | no run at notes.txt: give the folder
compare folder.csv | folder.csv holds no run (it has no config.json): give
compare run ./run | run is given twice: give each run once
compare run sweep | sweep is a run of jaxmlp sweep | give runs of jaxmlp train
compare 'cut run' | cut run/config.json does not describe a run of jaxmlp train | give the folder
compare other | other/config.json does not describe a run of jaxmlp train (KeyError)
compare 'no table' | no table/metrics.csv lacks the column train_accuracy | begin the run again
compare run --out a.gif | --out 'a.gif' is no picture's name: end it in .png
compare run --out no/a.png | the folder of no/a.png is not there: make it
compare run --out run/curves.png | run/curves.png lies in the run folder run | --out
# The other programs.
gradcheck --dataset digits --sizes 64 5 | --sizes must begin with 64 and end with 10 for 'digits' | given 64 5
gradcheck --dataset digits --sizes 63 10 | --sizes must begin with 64 and end with 10 for 'digits' and this loss
gradcheck --sizes 3 | at least inputs and outputs | given [3]
gradcheck --entries 0 | --entries must be at least 1 | 0
gradcheck --seed -1 | --seed must lie in 0 to | given -1
sweep --grid lerning_rate=1 | 'lerning_rate': did you mean 'learning_rate'?
sweep --grid seed=0..999999999 | at most 100,000 networks | 1,000,000,000
sweep --grid seed=0..999 batch_size=1..1000 | at most 100,000 networks | 1,000,000
sweep --random 8 | --random begins with a number | '8'
sweep --grid momentum=0.9 | not to 'sgd' | --optimizer momentum
sweep --validation 0 | --validation | given 0: try 0.2
sweep --resume run --check -1 | --check must be at least 0, given -1
sweep --activation gelu --against sklearn | scikit-learn has no | 'gelu' | relu
sweep --grid learning_rate | write NAME=VALUES
sweep --grid learning_rate= | write NAME=VALUES
sweep --grid learning_rate=fast | 'fast' is no value of learning_rate
sweep --grid hidden=64y64 | '64y64' is no value of hidden: write 64x64 or none
sweep --grid hidden=0 | --hidden takes sizes of at least 1
sweep --grid activation=rlu | did you mean 'relu'
sweep --grid seed=3..1 | the range must rise
sweep --grid seed=0 seed=1 | seed stands twice
sweep --grid learning_rate=log:1e-3..1 | a grid takes ranges of whole numbers
sweep --grid activation=relu..tanh | a range is for numbers
sweep --random learning_rate=log:1e-3..1 | --random begins with a number
sweep --random 0 learning_rate=log:1e-3..1 | --random begins with a number
sweep --random 3 learning_rate=log:0..1 | a logarithmic range begins above 0
sweep --random 3 l2=0.1,0.2 l2=0.3 | l2 stands twice in --random
sweep --random 3 l2=0.1,0.2 --grid l2=0.3 | l2 stands in --grid and in --random
sweep --grid seed=0...7 | '.7' is no value of seed: write a whole number
sweep --halving 3 --epochs 1 | than the run of 1 epoch, given 1: train for more epochs, or compare sooner
sweep --folds 1 | --folds must be at least 2
sweep --halving 1 | eta must be a whole number of at least 2
sweep --halving 2 --first-rung 40 | shorter than the run of 40 epochs
sweep --first-rung 2 | --first-rung belongs to --halving
sweep --cores 0 | --cores must be at least 1
sweep --block 0 | --block must be at least 1
sweep --against torch | unknown peer 'torch'
sweep --against sklearn --halving 2 | leave out --halving
sweep --against sklearn --grid activation=relu,gelu | no network with activation 'gelu'
sweep --against sklearn --grid optimizer=sgd,lion | optimiser 'lion': it has relu
sweep --resume run --block 0 | --block must be at least 1, given 0
sweep --target-accuracy 0.9 | does not apply to a sweep
sweep --resume run --epochs 3 | --resume takes --epochs from the run
sweep --resume nowhere | no run at nowhere: give the folder of a sweep
sweep --resume run | run/config.json does not hold the options of a sweep (grid is missing)
sweep --dataset pets.csv --target pet --folds 99 | folds must number from 2
gradcheck --l2 -1 | --l2 must be a finite number | -1
benchmark --repeats 0 | --repeats must be at least 1, given 0
benchmark --quick --cases tabular --repeats 3 | --quick sets --cases and --repeats
benchmark --cases mnist_30 | did you mean 'mnist_300'?
benchmark --peers nump | did you mean 'numpy'?
benchmark --optimizers sdg | unknown optimiser | did you mean 'sgd'?
benchmark --cases | at least one name each
benchmark --precision float64 | precision of the benchmark 'float64' | float32
growth --vary widht | did you mean 'width'?
growth --vary | --vary needs at least one name
growth --longest 0 | --longest must be above 0 seconds
growth --out no/x.json | the folder of no/x.json is not
report --results none | none holds none of
startup --repeats 0 | --repeats must be at least 1, given 0
startup --out no/x.json | the folder of no/x.json is not there: make it
growth --out . | --out '.' is no file | json
benchmark --out no/x.json | the folder of no/x.json is not
"""


def _read(cases: str) -> dict[str, BadInput]:
    found = {}
    for line in cases.replace("\n    | ", " | ").splitlines():
        if line and not line.startswith("#"):
            command, *said = line.split(" | ")
            script, *arguments = shlex.split(command)
            found[command] = BadInput(script, tuple(arguments), tuple(said))
    return found


BAD_INPUTS = _read(CASES)


def write_bad_files(folder: Path, run: Path) -> None:
    """Write everything that the bad inputs name: damaged files, and a finished run on pets.csv."""
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
    narrow = {"x_test": inputs[30:, :4], "y_test": labels[30:]}
    np.savez(folder / "uneven.npz", x_train=inputs[:30], y_train=labels[:30], **narrow)
    content = (folder / "good.npz").read_bytes()
    (folder / "nothing.npz").write_bytes(b"")
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    altered = bytearray(content)
    altered[300] ^= 255
    (folder / "altered.npz").write_bytes(bytes(altered))
