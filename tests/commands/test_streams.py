"""What commands print, and where: closed and full streams, names that would drive a terminal or a spreadsheet."""

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from minast.console import say
from minast.storage import tables
from minast.text import visible
from tests.conftest import TINY_RUN

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="shells and devices are POSIX's")


def shell(redirections, *arguments, module="predict"):
    """`python -m minast.MODULE ARGUMENTS` with redirections as a shell has them."""
    command = [
        "sh",
        "-c",
        f'exec "$@" {redirections}',
        "sh",
        sys.executable,
        "-m",
        f"minast.{module}",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams(trained, tones, tmp_path, closed):
    """As daemons start programs. No file that is opened later may get what is printed."""
    arguments = (trained / "best.npz", tones / "low" / "0.wav", "--explain", tmp_path / "why.png")
    done = shell(closed, *arguments)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else shell("", *arguments).stdout)
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    refused = shell(closed, trained / "best.npz", tmp_path / "none.wav")
    assert refused.returncode == 2 and refused.stderr.count("\n") == ("2>&-" not in closed)


@posix
def test_training_with_all_streams_closed(tones, tmp_path):
    flags = ["--depth", "1", "--epochs", "1", "--batch", "8", "--frames", "32"]
    done = shell("<&- >&- 2>&-", tones, "--out", tmp_path / "run", *flags, module="train")
    assert done.returncode == 0 and (tmp_path / "run" / "confusion.png").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize(("module", "flags"), [("predict", []), ("predict", ["--json"]), ("predict", ["--help"])])
def test_a_full_disk_behind_standard_output(trained, tones, module, flags):
    done = shell(">/dev/full", trained / "best.npz", tones / "low" / "0.wav", *flags, module=module)
    assert done.returncode == 2 and done.stderr.startswith("minast: standard output cannot be written")
    assert done.stderr.count("\n") == 1
    silent = shell(">/dev/full 2>/dev/full", trained / "best.npz", tones / "low" / "0.wav", *flags, module=module)
    assert silent.returncode == 2


@posix
def test_a_reader_that_leaves_early(trained, tones, tmp_path):
    """What is to be written is written, whoever reads what is printed."""
    out = tmp_path / "report"
    command = f"{sys.executable} -m minast.evaluate {trained / 'best.npz'} {tones} --out {out} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stderr == "" and sorted(os.listdir(out)) == ["confusion.png", "reliability.png", "scores.csv"]


def test_json_stands_alone_on_standard_output(trained, tones, tmp_path, command):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    for verb, arguments in (
        ("predict", [trained / "best.npz", tones / "low" / "0.wav", tmp_path / "bad.wav"]),
        ("evaluate", [trained / "best.npz", tones]),
        ("stats", [tones]),
    ):
        _, said, err = command(verb, *arguments, "--json")
        assert json.loads(said) and all(line.startswith(("minast: ", "note: ")) for line in err.splitlines())


# -- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dog", "dog"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x9b2J", r"\x9b2J"),  # the escape sequences of one byte
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\udcff.wav", r"\udcff.wav"),
        ("\u2028", r"\u2028"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # "I want", spelt with a zero-width non-joiner
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("日本語 Sirène\xa0!", "日本語 Sirène\xa0!"),
        ("x" * 600, "x" * 497 + "..."),
        ("\n" * 600, r"\n" * 248 + "\\..."),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


def test_nothing_that_a_terminal_obeys_is_printed():
    for character in map(chr, range(sys.maxunicode + 1)):
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs", "Zl", "Zp", "Cf") and character not in "\u200c\u200d":
            assert visible(character).isascii() and visible(character).isprintable(), hex(ord(character))
        elif kind != "Cn":
            assert visible(character) == character


def test_messages_are_one_line_of_bounded_length(capsys):
    say.complain("there is no \x1b[2J\nfile " + "x" * 10**6)
    say.note(ValueError("a\rb"))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(r"minast: there is no \x1b[2J\nfile xxx") and len(first) == say.LONGEST
    assert second == r"note: a\rb"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_names_do_not_drive_the_terminal(trained, tones, tmp_path, command):
    name = "\x1b[31m\nminast: a.wav"
    (tmp_path / name).write_bytes(b"no sound")
    status, said, err = command("predict", trained / "best.npz", tmp_path / name)
    assert status == 2 and said == "" and err.count("\n") == 1 and "\x1b" not in err and r"\x1b[31m\nminast" in err


# -- tables ----------------------------------------------------------------------------------------------------------

CELLS = [
    "=1+1",
    "+x",
    "-x.wav",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''-a",
    "'quoted'",
    "＝1",
    "dog",
    "",
    "a,b",
    'a"b',
    "a\nb",
]


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_cells_are_safe_and_can_be_read_back(tmp_path, cell):
    tables.write_table(tmp_path / "t.csv", ["file"], [[cell]])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as f:
        _, (written,) = csv.reader(f) if cell else (None, ("",))
    assert written[:1] not in ("=", "+", "-", "@", "\t", "\r", "＝") and tables.original(written) == cell
    assert cell.startswith(tuple("=+-@\t\r＝'")) or written == cell


def test_numbers_stay_numbers():
    text = io.StringIO()
    tables.write_rows(text, ["a"], [[-1.5, "-0.25", "+1e-3", -3, "-.5", "-1e5x"]])
    assert text.getvalue() == "a\n-1.5,-0.25,+1e-3,-3,-.5,'-1e5x\n"


def test_a_file_name_that_is_no_utf_8(tmp_path):
    tables.write_table(tmp_path / "t.csv", ["file"], [["\udcff.wav"]])
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "file\n\\udcff.wav\n"


def test_names_of_outputs_do_not_drive_the_terminal(trained, tones, tmp_path, command):
    folder = tmp_path / "esc\x1b[31m"
    folder.mkdir()
    for verb, *arguments in (
        ("train", tones, "--out", folder / "run", *TINY_RUN, "--epochs", 1),
        ("train", "--resume", folder / "run"),
        ("predict", folder / "run" / "best.npz", tones / "low" / "0.wav", "--explain", folder / "x.png"),
        ("evaluate", folder / "run" / "best.npz", tones, "--out", folder / "report"),
        ("embed", trained / "best.npz", tones / "low", "--out", folder / "e.npz"),
        ("convert", trained / "best.npz", folder / "c.npz"),
        ("predict", folder / "none.npz", tones / "low" / "0.wav"),
        ("stats", folder),
        ("data", "check", folder),
    ):
        _, out, err = command(verb, *arguments)
        assert "\x1b" not in out + err, verb
