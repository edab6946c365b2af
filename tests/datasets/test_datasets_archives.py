"""Archives: the real download code against a server on this machine, and what it does with damaged files."""

import functools
import hashlib
import http.server
import socket
import threading

import pytest
from comparisons import refused

from jaxmlp.datasets import archives
from jaxmlp.datasets.archives import Archive, ArchiveSet, check_archive, download, find_manual_folder

CONTENT = bytes(range(256)) * 40
ALTERED = CONTENT[:-1] + b"\0"
ARCHIVE = Archive("images.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; addresses under /broken/ promise more bytes than they send."""

    def do_GET(self):
        if self.path.startswith("/broken/"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100])
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def mirrored(tmp_path, monkeypatch):
    """Describe the archive as it lies in folders of a server on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    root = tmp_path / "served"
    for folder, content in {"good": CONTENT, "truncated": CONTENT[:-1], "altered": ALTERED}.items():
        (root / folder).mkdir(parents=True)
        (root / folder / ARCHIVE.filename).write_bytes(content)
    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        address = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield lambda *folders: ArchiveSet("tiny", (ARCHIVE,), tuple(f"{address}/{name}/" for name in folders))
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("truncated", "wrong hash"),
        ("altered", "wrong hash"),
        ("broken", "arrived cut off"),
        ("absent", "answers 404"),
    ],
)
def test_the_next_mirror_is_tried_or_a_line_says_what_to_do(mirrored, tmp_path, bad, reason):
    path = tmp_path / "down" / ARCHIVE.filename
    message = f"cannot download 'images.gz' of 'tiny' ...{reason}...JAXMLP_MANUAL_DIR"
    refused(message, download, mirrored(bad), path.parent, quiet=True)
    assert not path.exists()
    download(mirrored(bad, "good"), path.parent, quiet=True)
    assert path.read_bytes() == CONTENT


def test_no_network_and_a_server_that_never_answers_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(archives, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrors = ("http://127.0.0.1:1/", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        message = "127.0.0.1:1: cannot be reached; ...: no answer in time"
        refused(message, download, ArchiveSet("tiny", (ARCHIVE,), mirrors), tmp_path / "down", quiet=True)


@pytest.mark.parametrize(("there", "folder"), [(CONTENT, "absent"), (CONTENT[:50], "good")])
def test_a_file_that_is_there_is_downloaded_again_only_if_it_is_damaged(tmp_path, mirrored, there, folder):
    (tmp_path / ARCHIVE.filename).write_bytes(there)
    download(mirrored(folder), tmp_path, quiet=True)
    assert (tmp_path / ARCHIVE.filename).read_bytes() == CONTENT


def test_progress_can_be_silenced_and_an_unwritable_folder_is_one_line(tmp_path, mirrored, capfd):
    download(mirrored("good"), tmp_path / "quiet", quiet=True)
    assert capfd.readouterr() == ("", "")
    download(mirrored("good"), tmp_path / "loud", quiet=False)
    assert "%" in capfd.readouterr().err
    (tmp_path / "file").write_text("no folder")
    message = "cannot write 'images.gz' into ... another folder as data_dir"
    refused(message, download, mirrored("good"), tmp_path / "file" / "down", quiet=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], "is cut off (10239 bytes), expected that of 'tiny' (10240 bytes"),
        (b"", "is cut off (0 bytes)"),
        (ALTERED, "is not the original (10240 bytes, sha256"),
        (CONTENT + b"\0", "is not the original (10241 bytes"),
        (b"other", "is the one of 'another set'"),
        (None, "cannot be read"),
        ("a folder", "cannot be read"),
    ],
)
def test_an_archive_that_is_not_the_original_is_refused(tmp_path, content, message):
    path = tmp_path / ARCHIVE.filename
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    owners = {hashlib.sha256(b"other").hexdigest(): "another set"}
    assert str(path) in refused(message, check_archive, path, ARCHIVE, "tiny", owners)


def test_the_manual_folder_is_the_named_one_first(tmp_path):
    archive_set = ArchiveSet("tiny", (ARCHIVE,), ())
    assert find_manual_folder(archive_set, tmp_path) is None
    (tmp_path / "tiny").mkdir()
    for folder in (tmp_path, tmp_path / "tiny"):
        (folder / ARCHIVE.filename).write_bytes(b"")
        assert find_manual_folder(archive_set, tmp_path) == folder
