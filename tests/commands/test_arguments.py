"""Command lines: numbers with bounds, names that are nearly right, sentences instead of argparse's words."""

import argparse
import importlib

import pytest

import minast
from minast.__main__ import COMMANDS, MODULES
from minast.console.arguments import number, whole
from minast.datasets import DATA

PARSERS = {verb: importlib.import_module(f"minast.{MODULES.get(verb, verb)}").parser() for verb in COMMANDS}
TABLES = ("registers", "launches", "precision", "sass")  # of `bench`: their parsers are made in `main`
NUMBERS = [(verb, a) for verb, p in PARSERS.items() for a in p._actions if a.type not in (None, str)]
WILD = ["", "x", "1" + 40 * "0", "-" + 9 * "9", "nan", "1e400", "-inf", "9" * 5000, "0x10", "1;2", "٣" * 50]


@pytest.mark.parametrize(("verb", "action"), NUMBERS, ids=[f"{v} {a.option_strings[-1]}" for v, a in NUMBERS])
def test_every_number_is_bounded_where_it_is_parsed(verb, action):
    assert action.type not in (int, float)
    flag, count = action.option_strings[-1], action.nargs or 1
    given = [a for a in PARSERS[verb]._actions if not a.option_strings and a.nargs != "?"]
    others = [a.choices[0] if a.choices else a.metavar for a in given]
    others += ["--out", "o.npz"] if verb == "embed" else []
    for wild in WILD:
        with pytest.raises(minast.Error) as refused:
            PARSERS[verb].parse_args([*others, f"{flag}={wild}"] if count == 1 else [*others, flag, *[wild] * count])
        said = str(refused.value)
        assert flag in said and len(said) < 200 and "\n" not in said, said


@pytest.mark.parametrize("table", TABLES)
def test_numbers_of_the_tables(table):
    main = importlib.import_module(f"minast.bench.kernels.{table}").main
    for flag in {"registers": ("--arch",), "sass": ("--arch",), "precision": ("--frames", "--clips")}.get(
        table, ("--frames", "--batch")
    ):
        for wild in WILD:
            with pytest.raises(minast.Error, match=flag):
                main([f"{flag}={wild}"])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(0, 10), "10", 10),
        (whole(0, 10), "0", 0),
        (whole(-5, 5), "-5", -5),
        (number(0, 1), "1", 1.0),
        (number(0, 1), "1e-3", 0.001),
        (number(0, 1, above=True), "1e-300", 1e-300),
    ],
)
def test_bounds_are_included(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (whole(0, 10), "11", "is 11: it must be a whole number from 0 to 10"),
        (whole(0, 10), "1.0", "is 1.0: it must be a whole number from 0 to 10"),
        (whole(0, 10), "ten", "is 'ten': it must be a whole number from 0 to 10"),
        (number(0, 1), "1.1", "is 1.1: it must be a number, 0 or more and at most 1"),
        (number(0, 1, above=True), "0", "is 0: it must be a number, above 0 and at most 1"),
        (number(0, 1, below=True), "1", "is 1: it must be a number, 0 or more and below 1"),
        (number(0, 1), "nan", "is 'nan': it must be a number, 0 or more and at most 1"),
    ],
)
def test_what_is_outside_is_said(kind, text, words):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        kind(text)
    assert str(refused.value) == words


REFUSED = [
    ("train", ["--epoch", "3"], "there is no flag --epoch: did you mean --epochs?"),
    ("train", ["--xyz=1"], "there is no flag --xyz: python -m minast.train --help lists them all."),
    ("train", ["--max", "1"], "there is no flag --max: "),  # not an abbreviation
    ("train", ["--acc", "2"], "there is no flag --acc: "),  # nor of a flag of earlier versions
    ("train", ["a", "b"], "nothing takes 'b': python -m minast.train --help shows what is expected."),
    ("train", ["--preset", "huge"], "--preset is 'huge': choose from "),
    ("train", ["--epochs"], "--epochs: expected one argument."),
    ("predict", [], "CHECKPOINT and PATH are missing: python -m minast.predict --help shows what is expected."),
    ("scan", ["a.npz"], "PATH and --out are missing: python -m minast.scan --help shows what is expected."),
    ("scan", [], "CHECKPOINT, PATH and --out are missing: "),
    ("embed", ["a.npz", "b.wav"], "--out is missing: "),
    (
        "convert",
        ["a.pth", "b.npz", "--source-grid", "12"],
        "--source-grid is '12': it must be rows and columns, as 12x101",
    ),
    ("train", ["--milestones", "2", "0", "0.5"], "milestones"),
    ("train", ["--roll", "10000000000000000000000"], "--roll is 10000000000000000000000: it must be a whole number"),
    ("train", ["--threads", "1000000000"], "--threads is 1000000000: it must be a whole number from 1 to 4096."),
    ("train", ["x.wav"], "x.wav is one recording: DATA is "),
    ("stats", ["x.wav"], f"x.wav is one recording: DATA is {DATA}."),
]


@pytest.mark.parametrize(("verb", "arguments", "words"), REFUSED, ids=[" ".join([r[0], *r[1]]) for r in REFUSED])
def test_one_sentence_and_status_2(command, tmp_path, monkeypatch, verb, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    status, said, err = command(verb, *arguments)
    assert (status, said) == (2, "") and err.startswith("minast: ") and words in err and err.count("\n") == 1, err


def test_a_file_whose_name_begins_with_a_dash(trained, tones, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.wav").write_bytes((tones / "low" / "0.wav").read_bytes())
    for arguments in (["-x.wav"], ["./-x.wav", "-x.wav"]):
        status, _, err = command("predict", trained / "best.npz", *arguments)
        assert status == 2 and "if you mean the file, write ./-x.wav" in err
    for arguments in (["./-x.wav"], ["--", "-x.wav"]):
        status, said, _ = command("predict", trained / "best.npz", *arguments)
        assert status == 0 and "-x.wav  (0.50 s)" in said
