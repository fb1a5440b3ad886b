"""scan where names, places and other files are not as they should be."""

import csv
import io
import multiprocessing
import os
import shutil
from types import SimpleNamespace

import pytest
import soundfile

from minast.errors import Error
from minast.streaming import cuts, pools
from minast.streaming.cuts import Cut

ODD = ("new\nline.wav", "quo\"te's, and; more.wav", "-dash.wav", "br[1].wav", b"non\xffutf.wav", "=1+1.wav")


@pytest.fixture
def odd(tones, tmp_path):
    """A folder of recordings with odd names.   -> path, the names"""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = []
    for name in map(os.fsdecode, ODD):
        try:
            shutil.copy(tones / "low" / "0.wav", folder / name)
            names.append(name)
        except OSError:  # a file system with rules for names
            continue
    return folder, names


@pytest.mark.parametrize("form", ["csv", "jsonl", "audacity", "raven"])
def test_odd_names(trained, odd, tmp_path, command, form):
    folder, names = odd
    out = tmp_path / ("tracks" if form == "audacity" else "table")
    flags = ("--format", form, "--out", out, "--segments", tmp_path / "found")
    status, said, err = command("scan", trained / "best.npz", folder, *flags)
    assert status == 0 and f"in {len(names)} of {len(names)} recordings" in said and "Traceback" not in err
    assert len(list((tmp_path / "found" / "low").iterdir())) == len(names)
    if form == "audacity":
        assert sorted(os.listdir(out)) == sorted(f"{name}.txt" for name in names)
    else:
        text = out.read_text("utf-8")
        rows = list(csv.reader(io.StringIO(text))) if form == "csv" else text.splitlines()
        assert len(rows) - (form != "jsonl") == len(names)


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_lists_of_odd_names(trained, odd, tmp_path, command, monkeypatch, end):
    folder, names = odd
    names = [name for name in names if end == "\0" or "\n" not in name]
    listed = b"".join(os.fsencode(folder / name) + os.fsencode(end) for name in names)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed), "utf-8", "strict"))
    status, said, err = command("scan", trained / "best.npz", "-", "--out", tmp_path / "e.csv")
    assert status == 0 and f"in {len(names)} of {len(names)} recordings" in said, err


def test_a_recording_is_not_replaced(trained, tones, tmp_path, command):
    own = tmp_path / "a.wav"
    shutil.copy(tones / "low" / "0.wav", own)
    (tmp_path / "link.csv").symlink_to(own)
    before = own.read_bytes()
    for out in (own, tmp_path / "link.csv"):
        status, _, err = command("scan", trained / "best.npz", tmp_path, "--out", out, "--format", "csv")
        assert status == 2 and f"--out {out} is one of the recordings" in err
    assert own.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["a.wav", "link.csv"]


@pytest.mark.parametrize("content", [b"", b"0123", b'0123abcd {"form', b"half a download", b"a line\nanother\n"])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_file_where_the_journal_should_be(trained, tones, tmp_path, command, content, resume):
    """What is left of a journal's first line is replaced by --resume; what is none is never."""
    part, journal = tmp_path / "e.csv.part", content[:2] in (b"", b"01")
    part.write_bytes(content)
    status, _, err = command("scan", trained / "best.npz", tones / "low", "--out", tmp_path / "e.csv", *resume)
    if journal and resume:
        assert status == 0 and "this one begins anew" in err and not part.exists()
    else:
        assert status == 2 and part.read_bytes() == content
        assert ("holds no stopped work" if resume else "add --resume") in err


def test_a_scan_that_could_not_begin_leaves_nothing(trained, tones, tmp_path, command, monkeypatch):
    def fail(*_):
        raise Error("there is no model.")

    monkeypatch.setattr("minast.streaming.session.OneProcess", fail)
    status, _, _ = command("scan", trained / "best.npz", tones / "low", "--out", tmp_path / "e.csv")
    assert status == 2 and not list(tmp_path.iterdir())


class Stillborn:
    """What a pool knows of a process that was killed while it loaded the model."""

    def __init__(self, *_, **__):
        self.started = 0

    def Pipe(self):
        here, there = multiprocessing.Pipe()
        there.close()
        self.started += 1
        return here, there

    def Process(self, **_):
        nothing = dict.fromkeys(("start", "kill", "join"), lambda: None)
        return SimpleNamespace(**nothing)


def test_processes_that_cannot_begin_are_no_fault_of_a_recording(trained, tones, tmp_path, command, monkeypatch):
    context = Stillborn()
    monkeypatch.setattr(pools.multiprocessing, "get_context", lambda _: context)
    flags = ("--out", tmp_path / "e.csv", "--workers", 2)
    status, _, err = command("scan", trained / "best.npz", tones, *flags)
    assert status == 2 and "were killed before they could begin" in err and context.started <= 2 + pools.STARTS
    assert not list(tmp_path.iterdir())  # nothing is done, and nothing is called bad


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_excerpts_on_a_full_disk(tones, tmp_path, ending, capfd):
    path = tmp_path / f"a{ending}"
    path.symlink_to("/dev/full")
    with pytest.raises(Error, match=r"cannot be written: No space left on device"):
        cuts.write(str(tones / "low" / "0.wav"), [Cut(str(path), 0.0, 0.4)])
    assert capfd.readouterr().err == ""


def test_labels_that_fold_into_one_name_have_folders_of_their_own(tones, tmp_path):
    name = str(tones / "low" / "0.wav")
    labels = ["a/b", "a_b", "A_B", "..", "dog"]
    result = {"events": [[0.0, 0.3, k, 0.9] for k in range(len(labels))]}
    found = cuts.best([(name, result)], labels, str(tmp_path), 5)
    cuts.write(name, found[name])
    assert sorted(os.listdir(tmp_path)) == ["A_B (label 2)", "_", "a_b", "a_b (label 1)", "dog"]
    assert all(soundfile.info(path).frames == 4800 for path in tmp_path.rglob("*.wav"))
