"""Two million clips: training starts at once, in little memory, and does not wait for its batches."""

import json
import os
import subprocess
import sys

import pytest

from minast.training.feature_cache import LARGE
from tests.faults.server import ROOT


@pytest.mark.parametrize(("rows", "steps"), [(LARGE + 1, 4), (2_000_000, 60)], ids=["many", "audioset"])
def test_a_simulated_audioset(tmp_path, rows, steps):
    """On an idle machine the first step is done within 30 s; on a busy one the process has at least used no more."""
    command = [sys.executable, "-m", "tests.training.large", tmp_path, "--rows", rows, "--steps", steps]
    environment = {**os.environ, "MINAST_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert f"{rows} clips are computed when first needed" in done.stderr
    assert f"measured on 2000 of {rows} clips" in done.stderr
    assert min(found["first_step_s"], found["first_step_cpu_s"]) < 30
    assert found["memory_gib"] < 2 and found["waiting"] < 0.02, found
