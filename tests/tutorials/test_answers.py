"""Answers that the checks are tried with: wrong ones with reasons, unusual right ones; stubs that can be filled in."""

import importlib
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "tutorials"
sys.path.insert(0, str(FOLDER))

TOPICS = ("attention", "encoder_trained", "vit_to_ast", "what_does_it_hear")


def module(topic):
    return importlib.import_module(f"exercises.{topic}")


def text(topic):
    (source,) = FOLDER.glob(f"[0-9][0-9]_{topic}.py")
    return source.read_text(encoding="utf-8")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_wrong_answer_has_its_reason_and_every_exercise_an_unusual_right_one(topic):
    """test_notebooks.py tries them all."""
    wrong, right = module(topic).WRONG, module(topic).RIGHT
    assert set(wrong) == set(right) and all(right.values())
    for name, answers in wrong.items():
        assert len(answers) >= 4, name
        assert all(isinstance(a, tuple) and len(a) == 2 and len(a[1]) > 4 for a in answers), name


@pytest.mark.parametrize("topic", TOPICS)
def test_a_stub_keeps_its_def_when_the_line_is_replaced(topic):
    """The comment stands on a line of its own, and what is left is a function."""
    lines = [line for line in text(topic).splitlines() if "your code" in line]
    assert len(lines) == len(module(topic).WRONG)
    assert all(re.fullmatch(r"    return \.\.\.  # your code: replace this line", line) for line in lines)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_exercise_has_stars_and_a_solution(topic):
    heads = re.findall(r"^# ### Exercise (\d\.\d) (★+) \w.*", text(topic), re.M)
    number = {"attention": 4, "encoder_trained": 5, "vit_to_ast": 6, "what_does_it_hear": 9}[topic]
    assert [h[0] for h in heads] == [f"{number}.{i}" for i in range(1, len(module(topic).WRONG) + 1)]
    assert text(topic).count(f"[Solution](solutions/{topic}.py)") == len(heads)
