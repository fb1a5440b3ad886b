"""What else processes share: scores, the features of a machine, its cores, and what a launcher says of them."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from minast import parallel, scoring, threads
from minast.config import FeatureConfig
from minast.datasets import Clip
from minast.errors import Error
from minast.parallel.group import SINGLE, Group
from minast.parallel.watch import Watch, there
from minast.training import alike, clip_cache
from minast.training.feature_cache import FeatureCache
from tests.parallel.threaded import together


@pytest.mark.parametrize("size", [2, 3])
def test_scores_are_those_of_one_process(trained, size):
    import minast

    model, info = minast.load(trained / "best.npz", "numpy")
    rng = np.random.default_rng(0)
    mels = [rng.standard_normal((length, 128)).astype(np.float32) for length in [40, 48, 120, 30, 48, 50, 48]]
    expected = scoring.clip_scores(model, info, mels, batch=2)

    def work(group):
        other, _ = minast.load(trained / "best.npz", "numpy")
        return scoring.clip_scores(other, info, mels, batch=2, group=group)

    for found in together(size, work):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_processes_of_a_machine_divide_the_features(tones, monkeypatch, tmp_path):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    clips = [Clip(path.name, (0,), path=str(path)) for path in sorted((tones / "low").glob("*.wav"))]
    counts = []

    class Second(Group):
        local_rank, local_size = 1, 3

        def barrier(self, local=False):
            counts.append((local, len(list(tmp_path.rglob("*.mel")))))

    monkeypatch.setattr(clip_cache, "world", Second)
    mels = FeatureCache(clips, FeatureConfig(frames=48), quiet=True)
    assert counts == [(True, 3)] and len(clips) == len(mels) == 10  # clips 1, 4 and 7 of 0 to 9, then the rest
    monkeypatch.setattr(clip_cache, "world", lambda: SINGLE)
    alone = FeatureCache(clips, FeatureConfig(frames=48), cache=False, quiet=True)
    assert all(np.array_equal(a, b) for a, b in zip(mels, alone, strict=True))


@pytest.mark.parametrize(
    ("given", "several"),
    [
        ({}, False),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"PMI_SIZE": "2"}, True),
        ({"PMI_SIZE": "1"}, False),
        ({"PMIX_RANK": "3"}, True),  # srun --mpi=pmix says no number: MPI does
        ({"SLURM_NTASKS": "8"}, False),  # also in a batch script, where there is one process
        ({"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"}, True),  # srun without any MPI: not eight runs
        ({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "4"}, True),  # mpiexec within srun
    ],
)
def test_what_launchers_say(monkeypatch, given, several):
    for name in (*parallel.SIZES, parallel.STARTED):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert parallel.launched() is several


def test_without_mpi_a_sentence(monkeypatch, command):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    status, _, err = command("train")
    assert status == 2 and "one of several processes that mpiexec or srun has started, and MPI cannot be used" in err
    assert parallel.world() is SINGLE


def test_an_mpi_that_sees_one_process_of_several(monkeypatch):
    """Of another library than the launcher: each process would train alone, into a folder of its own."""
    from minast.parallel import mpi

    monkeypatch.setattr(mpi, "MpiGroup", lambda MPI: SimpleNamespace(size=1))
    library = SimpleNamespace(Get_library_version=lambda: "MPICH Version: 4.2\n, more")
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", SimpleNamespace(MPI=library))
    for name in (*parallel.SIZES, parallel.STARTED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(Error, match=r"SLURM_STEP_NUM_TASKS is 4\), and mpi4py sees one: it uses MPICH Version: 4\.2"):
        mpi.connect()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert mpi.connect().size == 1


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ({}, None),
        ({"folder": "/elsewhere", "threads": 3}, None),  # may differ
        ({"seed": 1}, "process 3 was started with another value of seed than process 1: give all the same flags."),
        ({"preset": "base"}, "process 3 was started with another value of preset than process 1"),
        ({"fingerprint": "other"}, r"process 3 sees other clips in tones than process 1"),
        ({"clips": 4}, r"process 3 sees other clips in tones than process 1"),  # one that it cannot read
    ],
)
def test_processes_that_do_not_do_the_same(own, sentence):
    """Without it nothing would stop them: one model would be trained on a mixture."""

    def work(group):
        mine = own if group.rank == 2 else {}
        given = {"folder": "/", "threads": 1, "preset": "nano", "fingerprint": "same"}
        saved = {name: mine.get(name, value) for name, value in given.items()} | {
            "train": {"seed": mine.get("seed", 0)}
        }
        clips = [Clip(f"/{group.rank}/{i}.wav", (0,)) for i in range(mine.get("clips", 5))]
        train = SimpleNamespace(clips=clips, late=None)
        data = SimpleNamespace(train=train, valid=train, test=None, dataset=SimpleNamespace(name="tones"))
        settings = SimpleNamespace(to_save=lambda: saved, fingerprint=saved["fingerprint"])
        try:
            alike.check_run(SimpleNamespace(group=group, data=data, settings=settings))
        except Error as error:
            return str(error)

    found = together(3, work)
    assert len(set(found)) == 1  # all end, and say the same
    assert found[0] is None if sentence is None else found[0].startswith(sentence)


def test_a_folder_that_one_process_does_not_see(tmp_path):
    def work(group):
        with pytest.raises(Error, match=r"process 2 does not see .*, which process 1 writes to"):
            alike.check_folder(group, str(tmp_path if group.rank == 0 else tmp_path / "no"))
        alike.check_folder(group, str(tmp_path))

    together(2, work)


def test_cores_are_divided_unless_a_number_was_asked_for(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else pytest.skip("needs Linux")
    group = SimpleNamespace(local_rank=0, local_size=2, size=2, talk=lambda own, local: [own, own])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    with parallel.settled(group):
        assert threads.count() == max(1, cores // 2)
    assert threads.VARIABLE not in os.environ
    monkeypatch.setenv(threads.VARIABLE, "3")
    with parallel.settled(group):
        assert threads.count() == 3


def test_on_windows_no_process_is_asked_whether_it_lives(monkeypatch):
    """There os.kill sends what Ctrl-C sends."""
    asked = []
    monkeypatch.setattr(os, "kill", lambda *a: asked.append(a))
    monkeypatch.setattr(os, "name", "nt")
    Watch(SimpleNamespace(rank=0, size=2), {0: 1, 1: 2})
    monkeypatch.undo()
    assert not asked


def test_a_process_that_ends_is_noticed():
    import subprocess
    import sys
    import threading

    said, ended = [], threading.Event()
    group = SimpleNamespace(rank=0, size=2, say=said.append, abort=lambda status: ended.set())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        watch = Watch(group, {0: os.getpid(), 1: other.pid})
        watch.farewell = lambda: "Go on."
        assert not watch.gone() and not ended.wait(0.2)
        other.kill()
        assert ended.wait(30)
        watch.stop()
    assert said[0] == "minast: process 2 of 2 was lost, and the run ends. Go on."
    assert there(os.getpid()) and not there(other.pid)
