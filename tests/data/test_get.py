"""data get, against a server on this machine: connections that drop, servers without Range, archives that attack."""

import gzip
import hashlib
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast import datasets
from minast.datasets import open_dataset, registry
from minast.datasets.fetch import download, unpack
from minast.datasets.fetch.get import get
from minast.datasets.registry import Download

from .sounds import sound
from .web import Site, serving

NAMES = [f"recordings/{d}_{who}_{take}.wav" for d in range(10) for who in ("theo", "lucas") for take in (0, 5)]
CONTENT = np.random.default_rng(0).bytes(1_000_003)  # of a file to download


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0)


def zipped(files):
    """A .zip of {name: bytes}"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files, **infos):
    """A .tar.gz of {name: bytes, or a TarInfo}"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if content is info else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def digits(tmp_path):
    """{name in the archive: content} of a small FSDD, as GitHub packs it"""
    found = {}
    for name in NAMES:
        found[f"free-spoken-digit-dataset-1.0.10/{name}"] = sound(tmp_path / "made" / name).read_bytes()
    return {**found, "free-spoken-digit-dataset-1.0.10/README.md": b"x"}


@pytest.fixture
def published(monkeypatch):
    """Serve a data set from another address: published("fsdd", url, sha256=...)."""
    monkeypatch.setattr(registry, "SOURCES", {**registry.SOURCES})
    monkeypatch.setattr("minast.datasets.fetch.get.SOURCES", registry.SOURCES)
    monkeypatch.setattr(datasets, "SOURCES", registry.SOURCES)

    def publish(name, url, clips=40, **known):
        source = registry.SOURCES[name]
        registry.SOURCES[name] = replace(source, download=Download(url, "CC0", clips, **known))

    return publish


# -- downloads -----------------------------------------------------------------------------------------------------


def fetch(url, path, **known):
    with download.downloaded(url, str(path), **known) as (where, size, sha256), open(where, "rb") as f:
        return f.read(), size, sha256


@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}])
def test_a_file(tmp_path, known):
    with serving(Site(CONTENT)) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", **known) == (
            CONTENT,
            len(CONTENT),
            hashlib.sha256(CONTENT).hexdigest(),
        )
    assert sorted(os.listdir(tmp_path)) == ["a.zip.part", "a.zip.part.json"]
    download.remove(str(tmp_path / "a.zip"))
    assert os.listdir(tmp_path) == []


def test_dropped_connections_are_taken_up_again(tmp_path):
    site = Site(CONTENT)
    site.drops = [300_000, 0, 1, 500_000]
    with serving(site) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT
    assert site.asked == [None, "bytes=300000-", "bytes=300000-", "bytes=300001-", "bytes=800001-"]


def test_another_day_goes_on_where_the_last_one_stopped(tmp_path):
    site = Site(CONTENT)
    site.drops = [400_000, *[0] * download.ATTEMPTS]
    with serving(site) as url:
        with pytest.raises(minast.Error, match=r"ended 5 times .*; 0\.4 of 1\.0 MB are kept: the same command goes on"):
            fetch(f"{url}/a.zip", tmp_path / "a.zip")
        site.asked.clear()
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT and site.asked == ["bytes=400000-"]
        site.asked.clear()
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT and site.asked == []  # it is all there


@pytest.mark.parametrize("how", ["without Range", "without a validator"])
def test_servers_that_cannot_go_on_start_anew(tmp_path, capsys, how):
    site = Site(CONTENT, ranges=how != "without Range", etag='"1"' if how == "without Range" else "")
    site.drops = [300_000]
    with serving(site) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT
    assert "from the start: 0.3 MB come again" in capsys.readouterr().err


def test_a_file_that_changes_meanwhile_is_not_mixed(tmp_path):
    site, other = Site(CONTENT), CONTENT[::-1]
    site.drops = [300_000, *[0] * download.ATTEMPTS]
    with serving(site) as url:
        with pytest.raises(minast.Error):
            fetch(f"{url}/a.zip", tmp_path / "a.zip")
        site.content, site.etag = other, '"2"'
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == other
        site.content, site.etag = other[:100], '"3"'  # shorter than what is here
        (tmp_path / "a.zip.part.json").write_text(json.dumps({"url": f"{url}/a.zip", "validator": '"3"', "size": 5}))
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == other[:100]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"url": 3}', '{"a": 1}', '{"url": "http://else", "validator": "x", "size": 9}']
)
def test_notes_on_a_part_that_cannot_be_used_cost_the_part(tmp_path, text):
    (tmp_path / "a.zip.part").write_bytes(b"something else")
    (tmp_path / "a.zip.part.json").write_text(text)
    with serving(Site(CONTENT)) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT


def test_a_length_that_is_not_announced(tmp_path):
    site = Site(CONTENT, length=False)
    with serving(site) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT
        site.drops = [1000]
        known = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
        assert fetch(f"{url}/b.zip", tmp_path / "b.zip", **known)[0] == CONTENT  # its size is known otherwise


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(tmp_path):
    site = Site(CONTENT)
    site.statuses = [503, 429, 500]
    with serving(site) as url:
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip")[0] == CONTENT and len(site.asked) == 4
        site.statuses, site.asked = [404], []
        with pytest.raises(minast.Error, match=r"/b\.zip: the server answers 404 Not Found\.$"):
            fetch(f"{url}/b.zip", tmp_path / "b.zip")
        assert len(site.asked) == 1 and not (tmp_path / "b.zip.part").exists()


def test_nobody_answers(tmp_path):
    with serving(Site(CONTENT)) as url:
        pass
    with pytest.raises(minast.Error, match=r"ended 5 times without bringing anything more .*refused"):
        fetch(f"{url}/a.zip", tmp_path / "a.zip")
    assert os.listdir(tmp_path) == []


def test_another_file_than_the_published_one(tmp_path):
    with serving(Site(CONTENT)) as url:
        with pytest.raises(minast.Error, match="has 1000003 bytes, not 5: it is not the file that was published"):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", size=5)
        with pytest.raises(minast.Error, match="it should be abc: it is damaged or was changed, and was removed"):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256="abc")
    assert os.listdir(tmp_path) == []


def test_one_process_at_a_time(tmp_path):
    with (
        serving(Site(CONTENT)) as url,
        download.downloaded(f"{url}/a.zip", str(tmp_path / "a.zip")),
        pytest.raises(minast.Error, match="another process is downloading this file"),
    ):
        fetch(f"{url}/a.zip", tmp_path / "a.zip")


def test_a_full_disk_keeps_what_came(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    (tmp_path / "a.zip.part").symlink_to("/dev/full")
    with serving(Site(CONTENT)) as url, pytest.raises(minast.Error, match=r"cannot be written: No space left"):
        fetch(f"{url}/a.zip", tmp_path / "a.zip")


def test_redirects_are_followed_but_not_out_of_encryption(tmp_path):
    site = Site(CONTENT)
    with serving(site) as url:
        site.location = f"{url}/a.zip"
        assert fetch(f"{url}/moved.zip", tmp_path / "a.zip")[0] == CONTENT
    handler = download._Redirects()
    request = download.urllib.request.Request("https://example.org/a.zip")
    with pytest.raises(minast.Error, match="is not encrypted"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://example.org/a.zip")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://example.org/b.zip").type == "https"


# -- archives ------------------------------------------------------------------------------------------------------


def out_of(tmp_path, data):
    """{path: content} of what an archive unpacks to; nothing else may be left in the folder."""
    (tmp_path / "in").write_bytes(data)
    with unpack.unpacked(str(tmp_path / "in"), str(tmp_path / "out")) as (_, left_out):
        pass
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    top = tmp_path / "out"
    return {str(f.relative_to(top)): f.read_bytes() for f in top.rglob("*") if f.is_file()}, left_out


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives(tmp_path, pack):
    assert out_of(tmp_path, pack({"top/a/x.wav": b"1", "top/b": b"2" * 3_000_000})) == (
        {"a/x.wav": b"1", "b": b"2" * 3_000_000},
        0,
    )
    (tmp_path / "out" / "b").unlink()
    with pytest.raises(minast.Error, match="cannot be written: Directory not empty"):
        out_of(tmp_path, pack({"a": b"1"}))


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_without_a_folder_of_their_own(tmp_path, pack):
    (tmp_path / "out").mkdir()  # empty
    assert out_of(tmp_path, pack({"./a/x": b"1", "./b/y": b"2"})) == ({"a/x": b"1", "b/y": b"2"}, 0)
    assert stat.S_IMODE(os.stat(tmp_path / "out" / "a" / "x").st_mode) & 0o111 == 0


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "a\\..\\..\\x", "C:\\x", "\\x", "a/b:c", "a\x1bb"])
def test_names_that_lead_out_are_refused(tmp_path, pack, name):
    with pytest.raises(minast.Error, match="leads out of its folder"):
        out_of(tmp_path, pack({"fine": b"1", name: b"2"}))
    assert os.listdir(tmp_path) == ["in"]


def test_links_and_devices_stay_inside(tmp_path):
    link, hard, device = (tarfile.TarInfo(name) for name in ("top/link", "top/hard", "top/null"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    files = {"top/a": b"1", "link": link, "hard": hard, "null": device}
    assert out_of(tmp_path, tarred(files)) == ({"a": b"1"}, 3)


def test_nothing_is_written_through_a_link(tmp_path):
    link = tarfile.TarInfo("a")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    assert out_of(tmp_path, tarred({"link": link, "a/x": b"1", "b": b"2"})) == ({"a/x": b"1", "b": b"2"}, 1)
    assert not (tmp_path / "x").exists()


def test_links_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("top/a", "1")
    assert out_of(tmp_path, out.getvalue()) == ({"a": b"1"}, 1)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_the_same_name_twice_is_refused(tmp_path, pack):
    with pytest.raises(minast.Error, match=r"has '\./a' twice"):
        out_of(tmp_path, pack({"a": b"1", "./a": b"2"}))


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_that_unpack_to_far_more_are_refused(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(unpack, "ROOM", 10**6)
    with pytest.raises(minast.Error, match="unpacks to more than"):
        out_of(tmp_path, pack({"a": bytes(30_000_000)}))
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_damaged_archives_are_noticed(tmp_path, pack):
    """Wherever a bit has flipped in the content, and wherever the archive ends too early."""
    rng = np.random.default_rng(0)
    whole = pack({f"top/{i}": rng.bytes(3000) for i in range(10)})
    for place in rng.integers(100, len(whole) - 3000, 30):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(minast.Error):
            out_of(tmp_path, bytes(broken))
    for end in (*rng.integers(3, len(whole), 20), len(whole) - 1, len(whole) - 8):
        with pytest.raises(minast.Error):
            out_of(tmp_path, whole[:end])
    assert os.listdir(tmp_path) == ["in"]


def test_the_checksum_of_a_tar_is_read_though_tar_ends_before(tmp_path):
    whole = bytearray(tarred({"top/a": b"1" * 1000}))
    whole[-8:-4] = struct.pack("<I", 1)  # CRC-32 of the gzip stream
    with pytest.raises(unpack.Unusable, match="CRC check failed"):
        out_of(tmp_path, bytes(whole))


# without the time in its header: it is a part of the test's name, and workers that collect a second apart must agree
@pytest.mark.parametrize("data", [b"", b"<html>", gzip.compress(b"no tar" * 200, mtime=0), bytes(range(7, 250)) * 20])
def test_what_is_no_archive(tmp_path, data):
    with pytest.raises(minast.Error, match=r"neither a \.zip nor a \.tar\.gz|damaged"):
        out_of(tmp_path, data)


# -- the command ---------------------------------------------------------------------------------------------------


def test_get(tmp_path, monkeypatch, digits, published, command):
    monkeypatch.chdir(tmp_path)
    site = Site(zipped(digits))
    site.drops = [1000]
    with serving(site) as url:
        published("fsdd", f"{url}/v1.0.10.zip")
        status, out, err = command("data", "get", "fsdd")
    assert status == 0 and err == "" and "minast.train fsdd:fsdd" in out and "40 clips" in out
    assert "recorded, since none is published" in out and len(site.asked) == 2
    assert sorted(os.listdir("fsdd")) == ["README.md", "download.json", "recordings"]
    assert sorted(os.listdir()) == ["fsdd", "made"]  # neither the archive nor a part of it
    data = open_dataset("fsdd:fsdd")
    assert len(data.of("train")) == len(data.of("test")) == 20
    about = json.loads((tmp_path / "fsdd" / "download.json").read_text())
    assert about["sha256"] == hashlib.sha256(site.content).hexdigest() and about["clips"] == 40
    asked = len(site.asked)
    assert command("data", "get", "fsdd")[1].startswith("fsdd holds it already") and len(site.asked) == asked


def test_get_with_a_checksum_into_a_folder(tmp_path, digits, published, command):
    data = tarred({"./" + name.partition("/")[2]: content for name, content in digits.items()})
    with serving(Site(data)) as url:
        known = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        published("fsdd", f"{url}/a.tar.gz", clips=3000, **known)
        status, out, err = command("data", "get", "fsdd", "--out", tmp_path / "x" / "digits")
        assert status == 0 and ": the published one" in out and "40 clips, 3000 were expected" in err
        published("fsdd", f"{url}/a.tar.gz", **{**known, "sha256": "0" * 64})
        status, out, err = command("data", "get", "fsdd", "--out", tmp_path / "y")
        assert status == 2 and "it should be 000" in err and not (tmp_path / "y").exists()
    assert len(open_dataset(f"fsdd:{tmp_path / 'x' / 'digits'}").clips) == 40
    assert os.listdir(tmp_path / "x") == ["digits"]


def test_what_is_there_is_never_touched(tmp_path, digits, published):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "fsdd.zip").write_text("an archive of my own")
    with serving(Site(zipped(digits))) as url:
        published("fsdd", f"{url}/a.zip")
        with pytest.raises(minast.Error, match="mine is there and holds something else"):
            get("fsdd", tmp_path / "mine")
        get("fsdd", tmp_path / "fsdd")
    assert (tmp_path / "fsdd.zip").read_text() == "an archive of my own"
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_a_damaged_archive_is_fetched_again(tmp_path, digits, published):
    site = Site(zipped(digits)[:-500], length=False)  # it ends early, and nothing says so
    with serving(site) as url:
        published("fsdd", f"{url}/a.zip")
        with pytest.raises(minast.Error, match="It was removed: try again"):
            get("fsdd", tmp_path / "fsdd")
        assert os.listdir(tmp_path) == ["made"]
        site.content = zipped(digits)
        get("fsdd", tmp_path / "fsdd")
    assert len(open_dataset(f"fsdd:{tmp_path / 'fsdd'}").clips) == 40


def test_an_archive_of_something_else_is_refused(tmp_path, published):
    with serving(Site(zipped({"x/readme": b"x"}))) as url:
        published("fsdd", f"{url}/a.zip")
        with pytest.raises(minast.Error, match=r"this archive is not Free Spoken Digit.*It was removed"):
            get("fsdd", tmp_path / "fsdd")
    assert os.listdir(tmp_path) == []


def test_ctrl_c_keeps_what_came(tmp_path, digits, published, monkeypatch, capsys):
    site = Site(zipped(digits))
    with serving(site) as url:
        published("fsdd", f"{url}/a.zip")
        append, calls = download._append, []

        def stop(*args):
            append(*args)
            calls.append(1)
            raise KeyboardInterrupt

        monkeypatch.setattr(download, "_append", stop)
        monkeypatch.setattr(download, "BLOCK", 5000)
        with pytest.raises(KeyboardInterrupt):
            get("fsdd", tmp_path / "fsdd")
        assert "the same command goes on from there" in capsys.readouterr().err
        monkeypatch.setattr(download, "_append", append)
        get("fsdd", tmp_path / "fsdd")
    assert site.asked == [None, "bytes=5000-"] and os.listdir(tmp_path / "fsdd" / "recordings")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["get", "nothing"], "nothing is no data set: data get fetches esc50, fsdd or speech-commands"),
        (["get", "audioset"], "audioset cannot be downloaded by this command"),
        (["get", "fsdd", "--json"], "--json is not for data get"),
        (["check", "builtin", "--out", "x"], "--out is not for data check"),
    ],
)
def test_wrong_arguments(arguments, match, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = command("data", *arguments)
    assert status == 2 and match in err and os.listdir(tmp_path) == []


def test_what_is_offered_is_complete():
    """A checksum only where one is published; GitHub makes the other archives on demand, and not always alike."""
    for source in registry.SOURCES.values():
        if known := source.download:
            assert known.url.startswith("https://") and known.url.endswith((".zip", ".tar.gz")) and known.clips
            assert (known.sha256 is None) == ("github.com" in known.url)
    assert registry.SOURCES["speech-commands"].download.size == 2_428_923_189
