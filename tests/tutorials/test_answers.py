"""Answers that the checks are tried with: each wrong one with its reason, each exercise with unusual right ones."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))


@pytest.mark.parametrize("topic", ["attention", "encoder_trained", "vit_to_ast", "what_does_it_hear"])
def test_every_wrong_answer_has_its_reason_and_every_exercise_an_unusual_right_one(topic):
    """test_notebooks.py tries them all."""
    module = importlib.import_module(f"exercises.{topic}")
    assert set(module.WRONG) == set(module.RIGHT) and all(module.RIGHT.values())
    for name, answers in module.WRONG.items():
        assert len(answers) >= 4, name
        assert all(isinstance(a, tuple) and len(a) == 2 and len(a[1]) > 4 for a in answers), name
