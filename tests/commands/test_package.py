"""What importing and asking for help may cost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minast
from minast.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
VERBS = tuple(COMMANDS)


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_import_pulls_in_numpy_alone():
    code = "import sys, minast; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = set(python("-c", code).stdout.split())
    assert {"numpy", "minast"} <= loaded
    assert not loaded & {"scipy", "soundfile", "soxr", "tqdm", "matplotlib", "cupy", "torch", "threadpoolctl", "shtab"}


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb):
    result = python("-m", f"minast.{verb}", "--help")
    assert result.returncode == 0 and result.stdout.startswith(f"usage: python -m minast.{verb} ")


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_flags_exit_2(verb):
    assert python("-m", f"minast.{verb}", "--no-such-flag").returncode == 2


def test_a_closed_pipe_is_no_crash():
    code = "import sys\nfrom minast import cli\ncli.run(lambda argv: [print('x' * 100) for _ in range(5000)] and 0)"
    result = subprocess.run(
        f'{sys.executable} -c "{code}" | head -1', shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Traceback" not in result.stderr


def test_top_level_is_as_described():
    visible = {name for name in os.listdir(ROOT) if not name.startswith(".")}
    assert {"README.md", "LICENSE", "setup.py", "minast", "tests", "tutorials"} <= visible


def test_one_version_everywhere():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)[1]
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert cited == newest == minast.__version__


def test_the_lowest_versions_are_those_of_setup_py():
    """What .ci/run installs: one pinned version of each package that minast requires."""
    text = (ROOT / "setup.py").read_text("utf-8")
    required = re.findall(r'"(\w+)>=([\d.]+)"', text[text.index("install_requires") : text.index("extras_require")])
    shown = subprocess.run([sys.executable, ".ci/lowest.py"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.stdout.split() == [f"{name}=={version}" for name, version in required] and len(required) >= 9
