"""Answers that the checks are tried with: each wrong one with its reason, each exercise with unusual right ones."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))


FOLDER = Path(__file__).resolve().parents[2] / "tutorials" / "exercises"
TOPICS = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "verdict"))


@pytest.mark.parametrize("topic", TOPICS)
def test_every_wrong_answer_has_its_reason_and_every_exercise_an_unusual_right_one(topic):
    """test_notebooks.py tries them all."""
    module = importlib.import_module(f"exercises.{topic}")
    assert set(module.WRONG) == set(module.RIGHT) and all(module.RIGHT.values())
    for name, answers in module.WRONG.items():
        assert len(answers) >= 4, name
        assert all(isinstance(a, tuple) and len(a) == 2 and len(a[1]) > 2 for a in answers), name


@pytest.mark.parametrize(
    ("source", "arrays"),
    [
        ("float s[2048], o[8] = {}, top = q[i * 8 + d];", {"s": 2048, "o": 8}),
        ("__shared__ float tile[32][33];", {}),
        ("// float s[99];\n/* float t[99]; */ const float own[2][4] = {{1.0f}};", {"own": 8}),
        ("#define MOST 16\nconst int more = 256;\nstruct Row { float s[MOST * more + 1]; };", {"s": 4097}),
        ("__device__ float scores[1000];", {"scores": 1000}),
        ("float o[2][2] = {{1, 2}, {3, 4}}, s[2048];", {"o": 4, "s": 2048}),
        ("float p = fmaf(o[0], k[j * 64 + d], f(b, c[99])), s[(2048)];", {"s": 2048}),
        ("float s[N], t[1 << 11];", {"s": float("inf"), "t": float("inf")}),
        ("enum { D = 8 }; float own[D] = {}, o[D + 1];", {"own": 8, "o": 9}),
        ("for (int j = 0; j < N; j++) { float s = k[j]; y[1000] = s; }", {}),
    ],
)
def test_arrays_of_a_thread_are_found_with_their_sizes(source, arrays):
    """Declared outside shared memory: from them the check of fused_attention sees a row of scores."""
    assert importlib.import_module("exercises.fast_attention")._arrays(source) == arrays
