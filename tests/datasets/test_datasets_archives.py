"""Archives: the real download code against a server on this machine, and what it does with damaged files."""

import contextlib
import functools
import hashlib
import http.server
import os
import socket
import threading

import pytest

from jaxmlp.datasets import archives
from jaxmlp.datasets.archives import Archive, ArchiveSet, check_archive, download, find_manual_folder
from jaxmlp.types import ArgumentError

CONTENT = bytes(range(256)) * 40
ARCHIVE = Archive("images.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; addresses under /broken/ promise more bytes than they send."""

    def do_GET(self):
        if not self.path.startswith("/broken/"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    root = tmp_path / "served"
    contents = {"good": CONTENT, "truncated": CONTENT[:-1], "altered": CONTENT[:-1] + b"\0"}
    for folder, content in contents.items():
        (root / folder).mkdir(parents=True)
        (root / folder / ARCHIVE.filename).write_bytes(content)
    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/"
        httpd.shutdown()
        thread.join()


def mirrored(server, *folders):
    return ArchiveSet("tiny", (ARCHIVE,), tuple(f"{server}{folder}/" for folder in folders))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("truncated", "wrong checksum"),
        ("altered", "wrong checksum"),
        ("broken", "arrived cut off"),
        ("absent", "answers 404"),
    ],
)
def test_the_next_mirror_is_tried_when_one_fails_and_without_a_good_one_a_line_says_what_to_do(
    server, tmp_path, bad, reason
):
    path = tmp_path / "down" / ARCHIVE.filename
    with pytest.raises(ArgumentError, match=reason) as caught:
        download(mirrored(server, bad), path.parent, quiet=True)
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot download 'images.gz' of 'tiny'" in message
    assert "JAXMLP_MANUAL_DIR" in message
    assert not path.exists()
    download(mirrored(server, bad, "good"), path.parent, quiet=True)
    assert path.read_bytes() == CONTENT


def test_no_network_and_a_server_that_never_answers_are_given_up(tmp_path, server, monkeypatch):
    monkeypatch.setattr(archives, "DOWNLOAD_TIMEOUT", 0.2)
    with contextlib.closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirrors = ("http://127.0.0.1:1/", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        message = r"127\.0\.0\.1:1: cannot be reached; .*: no answer in time"
        with pytest.raises(ArgumentError, match=message):
            download(ArchiveSet("tiny", (ARCHIVE,), mirrors), tmp_path / "down", quiet=True)


@pytest.mark.parametrize(("there", "folder"), [(CONTENT, "absent"), (CONTENT[:50], "good")])
def test_a_file_that_is_there_is_downloaded_again_only_if_it_is_damaged(tmp_path, server, there, folder):
    (tmp_path / ARCHIVE.filename).write_bytes(there)
    download(mirrored(server, folder), tmp_path, quiet=True)
    assert (tmp_path / ARCHIVE.filename).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, server):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ArgumentError, match=r"cannot write 'images.gz' into .* another folder as data_dir"):
        download(mirrored(server, "good"), tmp_path / "file" / "down", quiet=True)


def test_the_progress_bar_can_be_silenced(tmp_path, server, capfd):
    download(mirrored(server, "good"), tmp_path / "quiet", quiet=True)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    download(mirrored(server, "good"), tmp_path / "loud", quiet=False)
    assert "%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], r"is cut off \(10239 bytes\), expected that of 'tiny' \(10240 bytes"),
        (b"", r"is cut off \(0 bytes\)"),
        (CONTENT[:-1] + b"\0", r"is not the original \(10240 bytes, sha256"),
        (CONTENT + b"\0", r"is not the original \(10241 bytes"),
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
    with pytest.raises(ArgumentError, match=message) as caught:
        check_archive(path, ARCHIVE, "tiny", owners)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_manual_folder_is_the_named_one_first(tmp_path):
    archive_set = ArchiveSet("tiny", (ARCHIVE,), ())
    assert find_manual_folder(archive_set, tmp_path) is None
    (tmp_path / ARCHIVE.filename).write_bytes(b"")
    assert find_manual_folder(archive_set, tmp_path) == tmp_path
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / ARCHIVE.filename).write_bytes(b"")
    assert find_manual_folder(archive_set, tmp_path) == tmp_path / "tiny"
