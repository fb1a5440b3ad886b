"""A machine for CUDA often has no libraries for sound files: training on built-in sounds and the kernels need none."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minast.audio.write import wav
from tests.kernel_cases import need_compiler

ROOT = Path(__file__).resolve().parents[2]
REFUSED = "soundfile", "soxr", "cffi", "_cffi_backend", "pycparser"
WITHOUT = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {REFUSED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}: a bare machine", name=name)

sys.meta_path.insert(0, Refuse())
"""


def bare(code, *arguments):
    """Standard output and error of a child process that cannot import REFUSED."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_modules_are_refused():
    with pytest.raises(AssertionError, match="a bare machine"):
        bare("import soundfile")


def test_the_kernel_suite():
    """All its files can be read, and a kernel is run."""
    need_compiler()
    code = "import pytest\nsys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    assert "tests/gpu/test_half.py" in bare(code, "--collect-only", "tests/gpu")
    assert "....." in bare(code, "tests/gpu/test_kernels.py", "-k", "softmax and forward")


def test_training_on_the_built_in_sounds(tmp_path):
    """To its end: the examples are written too."""
    code = """
from minast import train
from minast.datasets import builtin
builtin.COUNTS = {"train": 40, "test": 20}
sys.exit(train.main(["builtin", "--backend", "fast", "--depth", "1", "--epochs", "1", "--out", sys.argv[1]]))
"""
    said = bare(code, tmp_path / "run")
    assert "20 test clips" in said and len(list((tmp_path / "run" / "examples").glob("*.wav"))) == 10
    assert "data:audio/wav;base64," in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_a_wav_file_is_libsndfiles():
    """Byte for byte, also at the limits and beyond."""
    import soundfile

    limits = [1, -1, 0.99999, -1.00001, 2, -3, 0, 1e-6, -1e-6, 0.5 / 32768, -0.5 / 32768]
    for samples in (np.random.default_rng(0).standard_normal(5000) * 0.4, np.array(limits), np.zeros(0)):
        theirs = io.BytesIO()
        soundfile.write(theirs, samples.astype(np.float32), 16000, format="WAV", subtype="PCM_16")
        assert wav(samples.astype(np.float32), 16000) == theirs.getvalue()
