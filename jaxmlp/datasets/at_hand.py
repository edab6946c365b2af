"""Whether a data set is here already, so that a program can choose one that needs no network."""

import os
from pathlib import Path

from jaxmlp.datasets.archives import find_manual_folder
from jaxmlp.datasets.images import IMAGE_SETS, MANUAL_DIR_VARIABLE
from jaxmlp.datasets.loading import DATASETS
from jaxmlp.datasets.prepared import RECORD


def is_at_hand(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> bool:
    """Tell whether a data set can be loaded without downloading anything."""
    DATASETS[name]  # raises for an unknown name
    if name not in IMAGE_SETS:
        return True
    archive_set = IMAGE_SETS[name].archive_set
    root = Path.home() / ".cache" / "jaxmlp" if data_dir is None else Path(data_dir).expanduser()
    if (root / archive_set.name / RECORD).is_file():
        return True
    by_hand = manual_dir or os.environ.get(MANUAL_DIR_VARIABLE)
    return bool(by_hand) and find_manual_folder(archive_set, Path(str(by_hand)).expanduser()) is not None
