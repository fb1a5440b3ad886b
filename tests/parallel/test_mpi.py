"""Processes through MPI: runs of two and of four are those of one; one that is killed, stopped, or has an error."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import minast
from minast import train
from minast.checkpoint import load_state
from minast.datasets.content import unpack
from tests.conftest import TINY_RUN
from tests.parallel.runs import FIXED, ROOT, same, state, until_epoch

MPIEXEC = next(filter(None, map(shutil.which, (str(Path(sys.executable).with_name("mpiexec")), "mpiexec"))), None)
WHY = "mpi4py is not installed" if importlib.util.find_spec("mpi4py") is None else "there is no mpiexec"
pytestmark = pytest.mark.skipif(WHY.startswith("mpi4py") or MPIEXEC is None, reason=f"{WHY}: pip install '.[mpi]'")

RUN = [*TINY_RUN, "--threads", "1"]


def started(size, *words):
    """mpiexec with so many processes of `python -m ...`; Open MPI wants to be told that it may."""
    text = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    mine = ["--allow-run-as-root", "--oversubscribe"] if re.search("open.?mpi|open-mpi", text, re.IGNORECASE) else []
    command = [MPIEXEC, *mine, "-n", str(size), sys.executable, "-m", *map(str, words)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMIX_", "PMI_"))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)


def run(size, *words):
    """-> exit status, output, errors"""
    with started(size, *words) as process:
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def processes(out):
    """{rank: process number} of a run's processes, where /proc tells."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            env = dict(line.partition(b"=")[::2] for line in (folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        rank = env.get(b"OMPI_COMM_WORLD_RANK", env.get(b"PMI_RANK"))
        if os.fsencode(out) in words and b"-m" in words[:2] and rank is not None:
            found[int(rank)] = int(folder.name)
    return found


@pytest.mark.parametrize("size", [4])
def test_all_operations(size):
    status, out, err = run(size, "tests.parallel.worker")
    assert status == 0, err
    assert out.count("all is well") == 1  # rank 0 alone speaks


def test_a_run_of_two_and_of_four_processes_is_that_of_one(tones, tmp_path, command):
    """Losses to 1e-6; in fixed order all bits, with all augmentation, and with the moments divided."""
    assert train.main([str(tones), "--out", str(tmp_path / "1"), *RUN]) == 0
    assert train.main([str(tones), "--out", str(tmp_path / "fixed-1"), *RUN, *FIXED]) == 0
    status, out, err = run(4, "minast.train", tones, "--out", tmp_path / "4", *RUN)
    assert status == 0, err
    assert "backend fast, 4 processes; to" in out and out.count("\nepoch 3 of 3") == 1
    for row, other in zip(state(tmp_path / "4")[1], state(tmp_path / "1")[1], strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=3e-6)
    status, out, err = run(2, "minast.train", tones, "--out", tmp_path / "2", *RUN, *FIXED, "--shard-optimizer")
    assert status == 0, err
    assert same(state(tmp_path / "2"), state(tmp_path / "fixed-1"))
    assert set(os.listdir(tmp_path / "2")) == set(os.listdir(tmp_path / "1"))
    words = [tmp_path / "1" / "best.npz", tones, "--split", "all", "--threads", "1", "--json"]
    assert run(2, "minast.evaluate", *words)[:2] == command("evaluate", *words)[:2]


def test_a_run_goes_on_with_another_number(tones, tmp_path):
    """One epoch by one process, the second by two with divided moments, the third by one: all bits of a single run."""
    long = ["minast.train", tones, *RUN, *FIXED, "--shard-optimizer"]
    assert train.main([*map(str, long[1:]), "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        from minast.training import loop

        ended = loop.end_epoch
        patch.setattr(loop, "end_epoch", lambda run, *rest: (ended(run, *rest), os.kill(os.getpid(), signal.SIGINT)))
        assert train.main([*map(str, long[1:]), "--out", str(out)]) == 130
    status, _, err = run(2, "minast.train", "--resume", out)
    assert status == 0, err
    assert same(state(out), state(tmp_path / "whole"))
    assert "note: the run had" not in err  # in fixed order there is nothing to note


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_killed_process(tones, tmp_path):
    """SIGKILL of one: the others end with one sentence, and the run goes on as if nothing had been."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    flags = [*RUN, *FIXED, "--epochs", "5"]
    with started(2, "minast.train", tones, "--out", out, *flags) as process:
        until_epoch(out, 2)
        os.kill(processes(out)[1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert not processes(out)
    if "Open MPI" in err or "prterun" in err:  # MPICH ends all before anybody can speak, unless told not to
        said = re.search(
            r"minast: process 2 of 2 was lost, and the run ends\. The last good checkpoint is (\S+), after", err
        )
        assert said and said[1] == str(out / "last.npz") and f"--resume {out}" in err
    assert train.main(["--resume", str(out)]) == 0
    assert train.main([str(tones), "--out", str(whole), *flags]) == 0
    assert same(state(out), state(whole))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_stopped_on_one_and_saved_on_all(tones, tmp_path):
    """SIGTERM to any process: all stop after the same step, and the first one saves."""
    out = tmp_path / "run"
    with started(2, "minast.train", tones, "--out", out, *RUN, "--epochs", "500", "--shard-optimizer") as process:
        until_epoch(out, 1)
        os.kill(processes(out)[1], signal.SIGTERM)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and re.search(r"Stopped after step (\d+) of \d+; nothing is lost", text)
    assert load_state(out / "last.npz")["m"].shape == minast.load(out / "last.npz", "numpy")[0].w.flat.shape


def test_an_error_is_said_once(tones, tmp_path):
    """By the first rank that has it, or by the only one; nobody waits for ever."""
    status, out, err = run(2, "minast.train", tones, "--epochs", "none")
    assert status == 2 and err.count("minast: --epochs is 'none'") == 1 and not out
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.npz").touch()
    status, out, err = run(2, "minast.train", tones, "--out", tmp_path / "run", *RUN)
    assert status == 2 and err.count("already holds a training run") == 1


def test_a_file_that_is_found_late(tones, tmp_path):
    """Bad for one process alone, in the middle of a run: all stop, it is saved, and one sentence says how to go on."""
    status, _, err = run(2, "tests.parallel.late", tones, "--out", tmp_path / "run", *RUN)
    assert status == 2, err
    assert err.count("minast: sound.wav cannot be read. The run is saved after step 5 of 12") == 1, err
    status, _, err = run(2, "tests.parallel.late", "--resume", tmp_path / "run", "--skip-bad")
    assert status == 0, err
    _, info = minast.load(tmp_path / "run" / "last.npz", "numpy")
    assert len(info.history) == 3 and len(unpack(info.notes["trained_on"])) == 18  # what both have read


def test_scaling_is_measured(tmp_path):
    words = ["minast.bench.scaling", "--preset", "nano", "--clips", "1", "--rounds", "1", "--threads", "1"]
    status, out, err = run(2, *words, "--json", tmp_path / "found.json")
    assert status == 0, err
    assert re.search(r"here: 2 processes, .* MB a sum", out) and (tmp_path / "found.json").exists()
