"""The console command `minast`, started as the script that pip installs for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minast
from minast import errors
from minast.__main__ import COMMANDS, usage

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "import sys\nfrom minast.__main__ import main\nsys.exit(main())\n"  # what pip writes for an entry point


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """console("predict", "--help") -> CompletedProcess"""
    path = tmp_path_factory.mktemp("bin") / "minast"
    path.write_text(SCRIPT)

    def run(*arguments, **options):
        paths = [options.pop("first", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **options}
        command = [sys.executable, path, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    return run


def test_setup_installs_it():
    assert '"minast = minast.__main__:main"' in (ROOT / "setup.py").read_text()


def test_help_lists_the_commands_and_imports_no_command(console):
    shown = console("--help", PYTHONPROFILEIMPORTTIME="1")
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0 and console().stdout == shown.stdout
    for verb, what in COMMANDS.items():
        assert [line for line in lines if line.split() == [verb, *what.split()]]
    assert "minast.backend" in shown.stderr  # so the list is there
    for module in ("minast.train", "minast.classifier", "minast.bench", "scipy", "matplotlib", "soundfile", "shtab"):
        assert module not in shown.stderr, module


def test_version(console):
    shown = console("--version")
    assert shown.returncode == 0 and shown.stdout == f"minast {minast.__version__}\n"


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("preditc", "did you mean predict?"),
        ("embeds", "did you mean embed?"),
        ("--nosuch", "choose one of train, "),
        ("nosuch", "choose one of train, "),  # "bench" is not near
    ],
)
def test_unknown_command(console, verb, hint):
    shown = console(verb)
    assert shown.returncode == 2 and shown.stdout == "" and shown.stderr.count("\n") == 1
    assert shown.stderr.startswith(f"minast: there is no command {verb!r}: ") and hint in shown.stderr


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_says_how_it_was_started(console, verb):
    shown = console(verb, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: minast {verb} ") and "python -m minast" not in shown.stdout


def test_it_does_what_the_module_does(console, trained, tones):
    arguments = (trained / "best.npz", tones / "low" / "0.wav", "--json")
    module = [sys.executable, "-m", "minast.predict", *map(str, arguments)]
    same = subprocess.run(module, capture_output=True, text=True, cwd=ROOT, timeout=120)
    shown = console("predict", *arguments)
    assert shown.returncode == same.returncode == 0 and shown.stdout == same.stdout
    package = [sys.executable, "-m", "minast", "predict", *map(str, arguments)]
    assert subprocess.run(package, capture_output=True, text=True, cwd=ROOT, timeout=120).stdout == same.stdout


def test_errors_name_commands_as_they_were_started(console, tmp_path):
    import numpy as np

    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    shown = console("predict", tmp_path / "other.npz", "a.wav")
    assert shown.returncode == 2 and "minast convert" in shown.stderr and "python -m" not in shown.stderr


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("/bin/bash", 'eval "$(minast --print-completion bash)"'),
        ("/usr/bin/zsh", 'eval "$(minast --print-completion zsh)"'),
        ("/usr/bin/fish", "minast --print-completion fish | source"),
        ("", 'eval "$(minast --print-completion bash)"'),
    ],
)
def test_help_says_how_to_switch_completion_on(monkeypatch, shell, line):
    monkeypatch.setenv("SHELL", shell)
    assert usage().endswith(f":  {line}")


def completed(script, words, folder):
    """What bash offers for the last of the words."""
    typed = " ".join(words)
    ask = f"""source {script}
COMP_WORDS=({" ".join(word or "''" for word in words)})
COMP_CWORD={len(words) - 1} COMP_LINE='{typed}' COMP_POINT={len(typed)}
_shtab_minast minast '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}" """
    found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, cwd=folder, timeout=60)
    return {line.strip() for line in found.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes(console, tmp_path):
    pytest.importorskip("shtab")
    script = console("--print-completion", "bash")
    assert script.returncode == 0, script.stderr
    (tmp_path / "completion").write_text(script.stdout)
    (tmp_path / "street.wav").touch()
    (tmp_path / "report").mkdir()
    (tmp_path / "report.csv").touch()
    assert completed("./completion", ["minast", "ev"], tmp_path) == {"evaluate"}
    assert set(COMMANDS) <= completed("./completion", ["minast", ""], tmp_path)
    assert completed("./completion", ["minast", "embed", "--per", ""], tmp_path) == {"file", "segment"}
    assert completed("./completion", ["minast", "embed", "--pool", ""], tmp_path) == {"both", "mean", "prefix"}
    assert completed("./completion", ["minast", "search", "str"], tmp_path) == {"street.wav"}
    assert completed("./completion", ["minast", "probe", "report", "rep"], tmp_path) == {"report", "report.csv"}
    assert completed("./completion", ["minast", "predict", "str"], tmp_path) == {"street.wav"}
    assert completed("./completion", ["minast", "evaluate", "a.npz", "sounds/", "--out", "re"], tmp_path) == {"report"}
    assert completed("./completion", ["minast", "data", ""], tmp_path) == {"check", "get"}
    assert {"fsdd:", "esc10:"} <= completed("./completion", ["minast", "evaluate", "a.npz", ""], tmp_path)
    assert completed("./completion", ["minast", "evaluate", "a.npz", "rep"], tmp_path) == {"report", "report.csv"}
    assert completed("./completion", ["minast", "bench", "reg"], tmp_path) == {"registers"}
    assert "--max-grad-norm" in completed("./completion", ["minast", "train", "--max"], tmp_path)


def test_completion_of_an_unknown_shell(console):
    pytest.importorskip("shtab")
    shown = console("--print-completion", "ksh")
    assert shown.returncode == 2 and "no completion for 'ksh': choose one of bash, zsh" in shown.stderr


def test_a_missing_shtab_is_one_sentence(console, tmp_path):
    (tmp_path / "shtab.py").write_text("raise ImportError")
    shown = console("--print-completion", first=str(tmp_path))
    assert shown.returncode == 2 and shown.stderr == "minast: shell completion needs shtab: pip install shtab.\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x"), "x"),
        (ValueError("it is 'x'"), "it is 'x'"),
        (ValueError("First line.\nSecond."), "First line"),
        (FileNotFoundError(2, "No such file or directory", "a"), "No such file or directory"),
        (ValueError(), "ValueError"),
        (RuntimeError("Error : Bad format.\n"), "Bad format"),
    ],
)
def test_what_another_library_says_fits_into_a_sentence(error, said):
    assert errors.reason(error) == said
