"""tests/gpu.sh, the script for the minutes with a GPU: rehearsed without one, on the stand-in for CuPy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minast.bench import stored
from minast.bench.gpu import tables
from minast.bench.gpu.device import LIBRARY, STAND_IN, UNREAL
from minast.bench.gpu.whole import REAL
from minast.bench.kernels import launches
from minast.errors import Error
from minast.gpu import workspaces
from tests.kernel_cases import need_compiler

SCRIPT = Path(__file__).resolve().parents[1] / "gpu.sh"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a script for Linux")


def run(out, *arguments, before=""):
    """(exit status, what it printed), with this Python first on the PATH, and `before` in front of that."""
    path = os.pathsep.join([*filter(None, [str(before)]), os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "OUT": str(out), "PATH": path}
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, env=environment, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_rehearsal(tmp_path):
    """All steps of all parts; the numbers can be read again."""
    need_compiler()
    status, said = run(tmp_path, "--rehearse")
    assert status == 0 and "all steps done" in said, said
    for name in [
        "versions",
        "kernels",
        "graphs",
        "train",
        "memcheck",
        "racecheck",
        "attention",
        "whole",
        "small",
        "profile",
        "throughput",
        "sweep",
    ]:
        assert f"-- {name}: done" in said and (tmp_path / f"{name}.txt").stat().st_size
    assert said.startswith((tmp_path / "report.txt").read_text())
    rows, about = stored.read(
        [tmp_path / f"{name}.json" for name in ("attention", "whole", "small", "throughput", "sweep")]
    )
    assert about["device"] == STAND_IN and len(rows) > 90
    assert all(row.note.endswith(UNREAL[STAND_IN]) and not any(g.reached for g in row.goals) for row in rows)
    assert any("version 7 with 3 warpgroups" in row.name for row in rows)
    assert sum(LIBRARY in row.libraries for row in rows) > 50  # the reference on CuPy's arrays
    (memory,) = (row for row in rows if row.job == "memory")
    assert memory.ours * 2**30 > 2 * workspaces.BYTES  # of the null stream and of the graphs'
    with pytest.raises(Error, match="nothing was measured on a GPU"):
        tables.refuse("README.md", rows)


def test_the_profiler_sees_each_kernel_at_full_size():
    """ncu counts launches of the kernels that its pattern names: those of base, in their order, from a dry run."""
    text = SCRIPT.read_text()
    pattern = re.search(r"profile='regex:(.*)'", text)[1]
    skip, count = (int(re.search(rf"--launch-{what} (\d+)", text)[1]) for what in ("skip", "count"))
    matching = [work for work in launches.step(REAL, 32, "bfloat16") if re.search(pattern, work.name)]
    seen = {work.name.split("<")[0] for work in matching[skip : skip + count] if "1214" in work.shape}
    assert seen == set(pattern.split("|"))


def test_a_step_that_fails_leaves_the_others_and_comes_again_in_part_3(tmp_path):
    """A python that cannot run one of the modules stands in front of the real one."""
    need_compiler()
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "python"
    broken.write_text(
        f'#!/bin/sh\ncase "$*" in *one_step*) echo no profiler; exit 7;; esac\nexec {sys.executable} "$@"\n'
    )
    broken.chmod(0o755)
    out = tmp_path / "out"
    status, said = run(out, "--rehearse", "2", before=broken.parent)
    assert status == 1 and "-- profile: FAILED with status 7" in said and "   no profiler" in said
    assert "-- whole: done" in said and "-- small: done" in said and said.count("failed: profile") == 1
    status, said = run(out, "--rehearse", "3")
    assert status == 0 and "-- profile: done" in said and "all steps done" in said and "sweep" not in said


def test_an_unknown_argument_prints_how_to_call_it(tmp_path):
    status, said = run(tmp_path, "4")
    assert status == 2 and "tests/gpu.sh --rehearse" in said and not (tmp_path / "report.txt").exists()
