"""Full disks, read-only folders, flipped bits and clocks that jump."""

import os
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tests.faults import runs
from tests.faults.server import ROOT

ALL = "MINAST_TEST_KILLS" in os.environ
ordinary = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.mark.parametrize("part", range(40) if ALL else range(4))
def test_a_disk_that_is_full_from_some_write_on(server, few, undisturbed, tmp_path, part):
    """One sentence; with space again, the run ends as if nothing had been. Writes are spread over the whole run."""
    out, writes = tmp_path / "run", undisturbed.events.count("w")
    n = int(np.random.default_rng(part).integers(0, writes))
    status, _, err = server.run("train", runs.begin(few, out), ["full_disk", n])
    if status == 0:  # only pictures were lost
        assert runs.SENTENCE.fullmatch(err) and "No space left on device" in err
    else:
        runs.in_a_sentence(status, err)
        assert "cannot be written: No space left on device" in err
    if out.exists():
        assert not [name for name in os.listdir(out) if name.endswith(".part")]
    status, _, err = runs.go_on(server, few, out)
    assert (status, err) == (0, "") and runs.same(runs.weights(out), undisturbed)


def test_a_disk_with_no_room_for_a_picture(server, few, undisturbed, tmp_path):
    """The last write of the run is report.html's."""
    out, writes = tmp_path / "run", undisturbed.events.count("w")
    status, said, err = server.run("train", runs.begin(few, out), ["full_disk", writes - 1])
    assert status == 0 and "report.html" not in said and runs.same(runs.weights(out), undisturbed)
    assert err == f"note: {out}/report.html cannot be written: No space left on device.\n"


def test_broken_matplotlib(server, few, undisturbed, tmp_path):
    out = tmp_path / "run"
    status, said, err = server.run("train", runs.begin(few, out), ["no_matplotlib"])
    assert status == 0 and runs.same(runs.weights(out), undisturbed) and runs.SENTENCE.fullmatch(err)
    assert err.count("Matplotlib requires access to a writable cache directory.") == 2  # not one an epoch
    assert f"{out}: best.npz, last.npz, history.csv, scores.npz, report.json, report.html\n" in said
    rest = ["report.html", "report.json", "scores.npz"]
    assert sorted(os.listdir(out)) == ["best.npz", "history.csv", "last.npz", *rest]


def test_no_folder_for_matplotlib(few, undisturbed, tmp_path):
    """Neither its settings' nor its cache's, in a new process: it then works in a temporary one, and says nothing."""
    environment = {**os.environ, "MPLCONFIGDIR": "/dev/null/none", "HOME": "/dev/null/none", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "minast.train", *map(str, runs.begin(few, tmp_path / "run"))]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and runs.same(runs.weights(tmp_path / "run"), undisturbed)
    runs.complete(tmp_path / "run")


@ordinary
def test_read_only_folders(server, few, tmp_path):
    """All commands that write say so before they do anything else."""
    (tmp_path / "locked").mkdir(mode=0o555)
    out = tmp_path / "locked" / "run"
    for verb, arguments in (
        ("train", [few, "--out", out]),
        ("train", [few, "--out", tmp_path / "locked"]),
        ("convert", [few / "none.npz", out.with_suffix(".npz")]),
        ("embed", [few / "none.npz", few, "--out", out.with_suffix(".npz")]),
        ("predict", [few / "none.npz", few / "low" / "0.wav", "--explain", out.with_suffix(".png")]),
    ):
        status, said, err = server.run(verb, arguments)
        runs.in_a_sentence(status, err)
        assert "Permission denied" in err and said.count("\n") <= 1, (verb, said, err)


@ordinary
def test_a_run_that_has_become_read_only(server, few, undisturbed, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(undisturbed.folder, out)
    out.chmod(0o555)
    try:
        status, _, err = server.run("train", ["--resume", out])
    finally:
        out.chmod(0o755)
    runs.in_a_sentence(status, err)
    assert "cannot be written to: Permission denied" in err


@ordinary
def test_a_cache_that_cannot_be_written_costs_time_alone(server, few, undisturbed, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o555)
    out = tmp_path / "run"
    status, _, err = server.run("train", runs.begin(few, out), environment={"MINAST_CACHE": str(tmp_path / "cache")})
    assert status == 0 and runs.same(runs.weights(out), undisturbed)
    assert err.startswith("note: features are not kept on disk: ") and runs.SENTENCE.fullmatch(err)


def flip(path, rng):
    """Change one random bit of a file."""
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(40) if ALL else range(3))
def test_a_flipped_bit_in_a_checkpoint(server, few, undisturbed, tmp_path, seed):
    """Of last.npz after two of three epochs: the same weights, or a sentence."""
    out, rng = tmp_path / "run", np.random.default_rng(seed)
    server.run("train", runs.begin(few, out), ["kill_at", "fsync", 16])
    flip(out / "last.npz", rng)
    status, _, err = server.run("train", ["--resume", out])
    if status == 0:
        assert err == "" and runs.same(runs.weights(out), undisturbed)
    else:
        runs.in_a_sentence(status, err)


def test_a_flipped_bit_in_each_cached_feature(server, few, undisturbed, tmp_path):
    """Each damaged entry is computed again: the same weights."""
    out, rng, cache = tmp_path / "run", np.random.default_rng(0), {"MINAST_CACHE": str(tmp_path / "cache")}
    server.run("train", runs.begin(few, tmp_path / "before"), environment=cache)
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    folders = Counter(path.relative_to(tmp_path / "cache").parts[0] for path in entries)
    assert folders == {"features": 16, "recordings": 10}  # log-mels of all clips, waveforms of the 6 to train on
    for path in entries:
        flip(path, rng)
    status, _, err = server.run("train", runs.begin(few, out), environment=cache)
    assert (status, err) == (0, "") and runs.same(runs.weights(out), undisturbed)


def test_clocks_that_jump_change_no_weight(server, few, undisturbed, tmp_path):
    out = tmp_path / "run"
    status, _, err = server.run("train", runs.begin(few, out), ["clock_jumps", 0])
    assert (status, err) == (0, "") and runs.same(runs.weights(out), undisturbed)
    runs.complete(out)
