"""Downloads against a server on this machine that misbehaves on demand."""

import builtins
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from fastnet.data.download import DownloadError, download
from fastnet.errors import FormatError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SUM = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/file honours Range; /norange does not; /cut stops in the middle of its first answer; /wrong has other bytes."""

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        wanted = self.headers.get("Range")
        server.seen.append((name, wanted))
        if name in ("missing", "broken"):
            self.send_error(404 if name == "missing" else 503)
            return
        content = CONTENT[::-1] if name == "wrong" else CONTENT
        start = int(re.match(r"bytes=(\d+)-$", wanted)[1]) if wanted and name != "norange" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if name == "shifted" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if name != "unsized":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        first_time = [n for n, _ in server.seen].count(name) == 1
        self.wfile.write(content[start : 1_000_000 if name in ("cut", "shifted") and first_time else None])
        if name == "endless":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "set" / "file.bin"


def fetch(server, target, *names, **options):
    options = {"sha256": SUM, "size": len(CONTENT), "pause": 0.0, "progress": False} | options
    return download([server.url + name for name in names], target, **options)


def test_a_file_arrives_whole_and_leaves_no_part_behind(server, target):
    assert fetch(server, target, "file") == target
    assert target.read_bytes() == CONTENT
    assert [f.name for f in target.parent.iterdir()] == ["file.bin"]


def test_a_broken_connection_is_resumed_where_it_ended(server, target):
    fetch(server, target, "cut")
    assert target.read_bytes() == CONTENT
    assert server.seen == [("cut", None), ("cut", "bytes=1000000-")]


def test_a_part_of_an_earlier_run_is_continued(server, target):
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(CONTENT[:1234])
    fetch(server, target, "file")
    assert target.read_bytes() == CONTENT
    assert server.seen == [("file", "bytes=1234-")]


def test_a_complete_part_is_put_in_place_without_asking(server, target):
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(CONTENT)
    fetch(server, target, "file")
    assert target.read_bytes() == CONTENT
    assert server.seen == []


def test_a_server_that_ignores_the_range_is_read_from_the_start(server, target):
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(CONTENT[:1234])
    fetch(server, target, "norange")
    assert target.read_bytes() == CONTENT


def test_a_server_that_answers_with_another_range_is_not_believed(server, target):
    with pytest.raises(DownloadError, match="bytes from 1000001, wanted 1000000"):
        fetch(server, target, "shifted", retries=2)
    assert not target.exists()


def test_a_damaged_part_is_thrown_away_and_the_file_fetched_afresh(server, target):
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(b"x" * 1234)
    fetch(server, target, "file")
    assert target.read_bytes() == CONTENT
    assert server.seen == [("file", "bytes=1234-"), ("file", None)]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_longer_than_the_file_is_thrown_away(server, target, size):
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(CONTENT + b"x")
    fetch(server, target, "file", size=size)
    assert target.read_bytes() == CONTENT


def test_wrong_content_is_never_put_in_place(server, target):
    with pytest.raises(FormatError, match=rf"SHA-256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}, wanted {SUM}"):
        fetch(server, target, "wrong", retries=2)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_length_is_refused_before_the_bytes_are_read(server, target):
    with pytest.raises(DownloadError, match="the file there has 3000000 bytes, wanted 17"):
        fetch(server, target, "file", size=17)
    assert list(target.parent.iterdir()) == []


def test_a_server_that_sends_without_end_is_cut_off(server, target):
    with pytest.raises(FormatError):
        fetch(server, target, "unsized", size=None, sha256="0" * 64, retries=1)
    with pytest.raises(DownloadError, match=r"has 17 bytes|wanted 17|more than 17"):
        fetch(server, target, "unsized", size=17, retries=1)
    assert not target.exists()


def test_the_mirror_serves_when_the_first_address_does_not(server, target):
    fetch(server, target, "missing", "wrong", "broken", "file", retries=2)
    assert target.read_bytes() == CONTENT
    assert [name for name, _ in server.seen] == ["missing", "wrong", "wrong", "broken", "broken", "file"]


def test_a_file_that_is_nowhere_lists_every_address_and_the_way_out(server, target):
    with pytest.raises(DownloadError) as caught:
        fetch(server, target, "missing", "broken", retries=2)
    message = str(caught.value)
    assert "/missing: HTTP Error 404" in message
    assert "/broken: HTTP Error 503" in message
    assert f"put it at {target}" in message
    assert not target.exists()


def test_being_offline_is_said_and_harms_nothing(target):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DownloadError, match="Without a network, fetch it elsewhere"):
        download(f"http://127.0.0.1:{port}/file", target, sha256=SUM, pause=0.0, progress=False)
    assert list(target.parent.iterdir()) == []


def test_progress_is_shown_with_tqdm_and_without(server, target, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    fetch(server, target, "file", progress=True)
    assert "100%" in capsys.readouterr().err
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tqdm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    fetch(server, target, "file", progress=True)
    assert capsys.readouterr().err == "file.bin: 3.0 of 3.0 MB, 100%\n"
