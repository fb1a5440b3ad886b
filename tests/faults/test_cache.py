"""The cache of features and waveforms: several processes that fill it, killed ones, flipped bits, a full disk, and more
of it than there is memory.
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import minast
from minast import threads
from minast.datasets import Clip, open_dataset
from minast.training import cache_entry, clip_cache
from minast.training.feature_cache import FeatureCache, Waves
from minast.training.late import Late
from tests.faults.server import ROOT
from tests.faults.test_disks import flip

FEATURES = minast.FeatureConfig(frames=48)
KILLS = int(os.environ.get("MINAST_TEST_KILLS", "8"))

FILL = """
import sys
import numpy as np
from minast import FeatureConfig
from minast.datasets import open_dataset
from minast.training.feature_cache import FeatureCache, Waves
from minast.training.late import Late
clips = open_dataset(sys.argv[1]).clips
order = np.random.default_rng(int(sys.argv[2])).permutation(len(clips))
print("ready", flush=True)
for kind in (FeatureCache, Waves):
    rows = kind(clips, FeatureConfig(), quiet=True, late=Late())
    for i in order:
        rows[int(i)]
"""


def fill(data, seed, cache):
    """A process that computes all clips, in an order of its own."""
    environment = {**os.environ, "MINAST_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", FILL, data, str(seed)], stdout=subprocess.PIPE, env=environment)


def entries(cache):
    return [path for path in (cache / "features").rglob("*") if path.is_file()]


@pytest.fixture
def rows(tones):
    """The clips, and what must be in the cache: [features, waveforms]."""
    clips = open_dataset(str(tones)).clips
    return clips, [list(kind(clips, FEATURES, cache=False, quiet=True)) for kind in (FeatureCache, Waves)]


def holds(cache, clips, wanted, monkeypatch):
    """Whether all is read from the cache, or computed, as it should be."""
    monkeypatch.setenv("MINAST_CACHE", str(cache))
    for kind, expected in zip((FeatureCache, Waves), wanted, strict=True):
        for late in (None, Late()):
            found = kind(clips, FEATURES, quiet=True, late=late)
            assert all(np.array_equal(found[i], row) for i, row in enumerate(expected))


def test_several_processes_fill_one_cache(tones, tmp_path, rows, monkeypatch):
    children = [fill(tones, seed, tmp_path) for seed in range(3)]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    assert len(entries(tmp_path)) == 60
    holds(tmp_path, *rows, monkeypatch)
    assert len(entries(tmp_path)) == 60


@pytest.mark.parametrize("seed", range(KILLS))
def test_writers_killed_at_random_moments(tones, tmp_path, rows, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    children = [fill(tones, seed, tmp_path) for seed in range(2)]
    for child in children:
        child.stdout.readline()
    for child in children:
        time.sleep(0.15 * rng.random())
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    for path in entries(tmp_path):  # whole, or not there
        if path.suffix in (".mel", ".wave"):
            cache_entry.read(path, path.stem, 2 if path.suffix == ".mel" else 1)
    holds(tmp_path, *rows, monkeypatch)
    holds(tmp_path, *rows, monkeypatch)
    assert sorted({path.suffix for path in entries(tmp_path)}) == [".mel", ".wave"]  # what was half written is gone


@pytest.mark.parametrize("late", [False, True])
def test_what_is_half_written_goes_when_nothing_is_missing(tones, tmp_path, rows, monkeypatch, late):
    """Of two processes that write one entry, the one that was killed leaves its file beside the other's."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    clips, (wanted, _) = rows
    assert all(len(row) for row in FeatureCache(clips, FEATURES, quiet=True))
    kept = sorted(entries(tmp_path))
    for i, folder in enumerate({path.parent for path in kept}):
        (folder / f".minast-{i:012x}.part").write_bytes(b"half")
    found = FeatureCache(clips, FEATURES, quiet=True, late=Late() if late else None)
    assert all(np.array_equal(found[i], row) for i, row in enumerate(wanted))
    assert sorted(entries(tmp_path)) == kept


def test_flipped_bits_in_short_and_mapped_entries(tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_entry, "MAPPED", 60_000)
    rng, clips = np.random.default_rng(0), []
    for i, samples in enumerate((3000, 50_000)):
        soundfile.write(tmp_path / f"{i}.wav", rng.uniform(-0.5, 0.5, samples), 16000)
        clips.append(Clip(f"{i}", (0,), path=str(tmp_path / f"{i}.wav")))
    wanted = [list(kind(clips, FEATURES, cache=False, quiet=True)) for kind in (FeatureCache, Waves)]
    holds(tmp_path / "cache", clips, wanted, monkeypatch)
    assert len(entries(tmp_path / "cache")) == 4
    for _ in range(10):
        for path in entries(tmp_path / "cache"):
            flip(path, rng)
            with pytest.raises(cache_entry.Damaged):
                cache_entry.read(path, path.stem, 2 if path.suffix == ".mel" else 1)
        holds(tmp_path / "cache", clips, wanted, monkeypatch)


def test_a_mapped_entry_is_checked_once_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_entry, "MAPPED", 1000)
    sums, real = [], cache_entry.zlib.crc32
    monkeypatch.setattr(cache_entry.zlib, "crc32", lambda *a: sums.append(a) or real(*a))
    mel = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    cache_entry.write(tmp_path / "a", "a", mel, ("cut",))
    for n in (1, 1, 1):
        found, notes = cache_entry.read(tmp_path / "a", "a")
        assert np.array_equal(found[40:60], mel[40:60]) and notes == ("cut",) and len(sums) == 2 + n
    cache_entry.write(tmp_path / "a", "a", mel + 1)
    assert np.array_equal(cache_entry.read(tmp_path / "a", "a")[0], mel + 1)
    assert np.array_equal(found, mel)  # what was mapped before is what it was
    with open(tmp_path / "a", "r+b") as f:
        f.seek(500)
        f.write(b"damage")
    with pytest.raises(cache_entry.Damaged):
        cache_entry.read(tmp_path / "a", "a")


@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk_costs_time_and_one_note(tones, tmp_path, rows, monkeypatch, capsys, late):
    """What was kept before is still read, and the run's own files find room."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    clips, (wanted, _) = rows
    some = FeatureCache(clips[:10], FEATURES, quiet=True)
    free = clip_cache.RESERVE + 5 * some[0].nbytes

    def usage(_):
        written = sum(path.stat().st_size for path in entries(tmp_path))
        return clip_cache.shutil._ntuple_diskusage(2**40, 0, max(0, free + 10 * some[0].nbytes - written))

    monkeypatch.setattr(clip_cache.shutil, "disk_usage", usage)
    found = FeatureCache(clips, FEATURES, quiet=True, late=Late() if late else None)
    assert all(np.array_equal(found[i], row) for i, row in enumerate(wanted))
    assert 10 <= len(entries(tmp_path)) <= 15
    err = capsys.readouterr().err
    assert err.count("note: ") == 1 and "features are not kept on disk: 1.0 GiB are free on the disk of" in err
    decoded = []
    monkeypatch.setattr(Clip, "read", lambda self, rate: decoded.append(self) or 1 / 0)
    again = FeatureCache(clips[:10], FEATURES, quiet=True, late=Late() if late else None)
    assert all(np.array_equal(again[i], row) for i, row in enumerate(wanted[:10])) and not decoded


def test_a_write_that_fails(tones, tmp_path, rows, monkeypatch, capsys):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    clips, (wanted, _) = rows

    def fails(path, *_):
        raise minast.Error(f"{path} cannot be written: No space left on device.")

    monkeypatch.setattr(cache_entry, "write", fails)
    found = FeatureCache(clips, FEATURES, quiet=True, late=Late())
    assert all(np.array_equal(found[i], row) for i, row in enumerate(wanted))
    err = capsys.readouterr().err
    assert err.count("note: ") == 1 and "No space left on device" in err


def test_few_clips_wait_in_memory(tones, tmp_path, monkeypatch):
    """Also where the thread that takes them is late: here it rests before the first."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    clips, begun, real = open_dataset(str(tones)).clips, [], FeatureCache._get

    def late(items, **_):
        seen = -1
        while seen < len(begun):  # until nothing more is begun
            seen = len(begun)
            time.sleep(0.3)
        assert len(begun) <= 2 * threads.count()
        yield from items

    monkeypatch.setattr(FeatureCache, "_get", lambda self, clips: begun.append(clips) or real(self, clips))
    monkeypatch.setattr("tqdm.tqdm", late)
    assert len(FeatureCache(clips, FEATURES, quiet=True)) == len(begun) == 30


# -- more than there is memory ---------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
import numpy as np
from minast import FeatureConfig
from minast.datasets import Clip
from minast.training.feature_cache import FeatureCache
from minast.training.late import Late
clips = [Clip(path, (0,), path=path) for path in sys.argv[2:]] * 20
options = {"late": Late()} if sys.argv[1] == "late" else {"in_memory": 2**20}
np.linalg.norm(np.ones((300, 300)) @ np.ones((300, 300)))  # what libraries allocate when they are first used
rows = FeatureCache(clips[:4], FeatureConfig(), quiet=True, late=Late())
rows[0], rows[1]
with open("/proc/self/status") as f:
    used = next(int(line.split()[1]) for line in f if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 48 * 2**20,) * 2)
rows = FeatureCache(clips, FeatureConfig(), quiet=True, **options)
total = sum(rows[i].nbytes for i in range(len(rows)))
long = [rows[i] for i in range(len(rows)) if i % 4 == 0]
print(total, sum(row.nbytes for row in long), float(sum(row[500:600].mean() for row in long)))
try:
    np.ones(2**27)
except MemoryError:
    print("limited")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux says how much memory a process has")
@pytest.mark.parametrize("way", ["late", "early"])
def test_more_features_than_memory(tmp_path, way):
    """500 MB of entries with room for 48: short ones are read when needed, long ones are mapped, 20 at a time."""
    rng, paths = np.random.default_rng(0), []
    for i, seconds in enumerate((300, 60, 60, 60)):  # entries of 15 and 3 MB
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.integers(-1000, 1000, seconds * 16000).astype(np.int16), 16000)
        paths.append(str(path))
    environment = {**os.environ, "MINAST_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    environment |= {"MINAST_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    plain = FeatureCache([Clip(path, (0,), path=path) for path in paths], FEATURES, quiet=True, cache=False)
    for filled in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, "late" if not filled else way, *paths],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        line, limited = done.stdout.splitlines()
        total, mapped, mean = line.split()
        assert int(total) == 20 * sum(row.nbytes for row in plain) > 450e6 and int(mapped) == 20 * plain[0].nbytes
        assert float(mean) == pytest.approx(20 * float(plain[0][500:600].mean()), rel=1e-6) and limited == "limited"
