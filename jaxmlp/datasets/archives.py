"""Public archives and their registered hashes: which files, from where, and whether they are whole."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jaxmlp.types import ArgumentError

# Seconds without a byte after which a mirror is given up.
DOWNLOAD_TIMEOUT = 30


class Archive(NamedTuple):
    """One file of a public data set: its official name, its size in bytes and its hash in hexadecimal."""

    filename: str
    size: int
    sha256: str
    unpacked: str | None = None  # the hash of its contents, where it is known


class ArchiveSet(NamedTuple):
    """The files of a public data set, and the addresses of folders that hold them, the official one first."""

    name: str
    archives: tuple[Archive, ...]
    mirrors: tuple[str, ...]

    def hashes(self) -> dict[str, str]:
        """Give the sha256 of each file by its name."""
        return {archive.filename: archive.sha256 for archive in self.archives}


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_archive(path: Path, archive: Archive, owner: str, owners: Mapping[str, str]) -> None:
    """Refuse an archive that is missing, cut off, altered, or another set's by its hash among `owners`."""
    try:
        size, sha256 = path.stat().st_size, file_sha256(path)
    except OSError as error:
        raise ArgumentError(
            f"archive '{path}' of '{owner}' cannot be read ({error.strerror}): put the original file there"
        ) from None
    if sha256 in (archive.sha256, archive.unpacked):
        return
    if path.suffix != ".gz":
        raise ArgumentError(
            f"file '{path}' is not known to be what {archive.filename} of '{owner}' unpacks to: put that archive there"
        )
    if sha256 in owners:
        raise ArgumentError(
            f"archive '{path}' is the one of '{owners[sha256]}', expected that of '{owner}' (they share their names): "
            f"put the archives of '{owner}' into a folder named '{owner}'"
        )
    if size < archive.size:
        reason = f"is cut off ({size} bytes)"
    else:
        reason = f"is not the original ({size} bytes, sha256 {sha256[:12]}…)"
    raise ArgumentError(
        f"archive '{path}' {reason}, expected that of '{owner}' ({archive.size} bytes, "
        f"sha256 {archive.sha256[:12]}…): delete it and put the original file there"
    )


def find_manual_folder(archive_set: ArchiveSet, manual_dir: Path) -> Path | None:
    """Find the folder that holds the archives downloaded by hand."""
    for folder in (manual_dir / archive_set.name, manual_dir):
        if any(find_archive(folder, archive.filename).is_file() for archive in archive_set.archives):
            return folder
    return None


def find_archive(folder: Path, filename: str) -> Path:
    """Find an archive, or what it unpacks to under one of the names that programs give it."""
    plain = filename.removesuffix(".gz")
    paths = [folder / name for name in (filename, plain, plain.replace("-idx", ".idx"))]
    return next((path for path in paths if path.is_file()), paths[0])


def how_to_provide(archive_set: ArchiveSet) -> str:
    """Say in half a sentence which files to put where, for the end of an error."""
    names = ", ".join(archive.filename for archive in archive_set.archives)
    return (
        f"download {names} from {archive_set.mirrors[0]} into a folder named '{archive_set.name}', "
        f"and name the folder above it as manual_dir or in the variable JAXMLP_MANUAL_DIR"
    )


def download(archive_set: ArchiveSet, folder: Path, *, quiet: bool = False) -> None:
    """Fetch the archives that are not yet in a folder, each from the first mirror that gives it whole.

    pooch does the work rather than TFDS's download manager: it tries one address at a time,
    which makes room for mirrors. A file only takes its name once its hash is right.
    """
    for archive in archive_set.archives:
        reasons = []
        for mirror in archive_set.mirrors:
            reason = _fetch(archive, mirror + archive.filename, folder, quiet)
            if reason is None:
                break
            reasons.append(f"{urlsplit(mirror).netloc}: {reason}")
        else:
            raise ArgumentError(
                f"cannot download '{archive.filename}' of '{archive_set.name}' ({'; '.join(reasons)}): "
                f"{how_to_provide(archive_set)}"
            )


def _fetch(archive: Archive, address: str, folder: Path, quiet: bool) -> str | None:
    """Fetch one file; the reason when that fails."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # its progress bar says enough
    try:
        pooch.retrieve(
            address,
            known_hash=f"sha256:{archive.sha256}",
            fname=archive.filename,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=not quiet, timeout=DOWNLOAD_TIMEOUT),
        )
    except requests.HTTPError as error:
        return "no answer" if error.response is None else f"answers {error.response.status_code}"
    except requests.exceptions.ChunkedEncodingError:
        return "the file arrived cut off"
    except requests.Timeout:
        return "no answer in time"
    except requests.ConnectionError:
        return "cannot be reached"
    except requests.RequestException as error:
        return type(error).__name__
    except OSError as error:  # after those of requests, which are OSErrors too
        raise ArgumentError(
            f"cannot write '{archive.filename}' into '{folder}' ({error.strerror or error}): "
            f"choose another folder as data_dir, with room in it"
        ) from None
    except ValueError:  # pooch's word for a wrong hash
        return "the file is altered or cut off (wrong hash)"
    return None
