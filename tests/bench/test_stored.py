"""Numbers that were kept: read again, refused where they are no GPU's, made a table and a picture."""

import json
import shutil

import pytest

import minast
from minast.backend import why_no_gpu
from minast.bench import catalogue, machine, readme, runner, stored, table
from minast.bench.gpu import device, ladder
from minast.bench.gpu.rows import DeviceRow, facts
from minast.bench.row import Row
from minast.gpu import kernel_source
from tests.pretended import ladder_rows

no_gpu = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")


@pytest.fixture
def kept(tmp_path):
    """A file as a GPU's run leaves it."""
    path, rows = tmp_path / "gpu.json", ladder_rows()
    table.write_json(path, rows, table.conditions(2) | facts(rows))
    return path


@pytest.fixture
def page(tmp_path):
    return shutil.copy(kernel_source.folder() / "README.md", tmp_path / "README.md")


def test_rows_come_back_as_they_were(kept):
    rows, about = stored.read([kept])
    assert rows == ladder_rows() and about["device"] == "Pretended GPU" and rows[3].goals[0].reached is False
    text = json.loads(kept.read_text())["rows"][3]
    assert text["goals"] == [
        {"text": "1.0x", "at_least": 1.0, "against": "torch", "library": "torch: flash", "value": 0.4, "reached": False}
    ]


def test_table_and_picture_without_measuring(kept, page, tmp_path, command, monkeypatch):
    monkeypatch.setattr(runner, "measure", None)
    picture = tmp_path / "ladder.png"
    status, out, _ = command("bench", "--from", kept, "--readme", page, "--ladder", picture)
    text = page.read_text(encoding="utf-8")
    assert status == 0 and out.count("\n") == 12 and "goal 1.0x of torch: flash: 0.40x, missed" in out
    assert text.count("](ladder.png)") == 1 and "| attention, version 6, bfloat16 | bfloat16 |" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert command("bench", "--from", kept, "--readme", page)[0] == 0
    assert "ladder.png)" not in page.read_text(encoding="utf-8")  # no picture was asked for


def test_several_files_are_one_run(kept, tmp_path):
    rows = ladder_rows()
    second = tmp_path / "second.json"
    new = [DeviceRow(name, 9.0, device="Pretended GPU") for name in (rows[0].name, "more")]
    table.write_json(second, new, {"device": "x"})
    with pytest.raises(minast.Error, match="of different devices: Pretended GPU and x"):
        stored.read([kept, second])
    table.write_json(second, new, stored.read([kept])[1])
    found, _ = stored.read([kept, second])
    assert len(found) == len(rows) + 1 and found[0].ours == 9.0 and found[1] == rows[1]


def damaged(row):
    """{what is wrong: (the file's text, what the error says)}"""
    about = {"device": "x"}
    return {
        "no JSON": ("{", "damaged"),
        "no text": (b"\xff\xfe\x00", "damaged"),
        "a list": ([], "it needs about and rows"),
        "another program's": ({"rows": [], "version": 3}, "it needs about and rows"),
        "about": ({"about": {"device": {}}, "rows": []}, "about must be a dictionary"),
        "rows": ({"about": about, "rows": {}}, "rows a list"),
        "a number for a row": ({"about": about, "rows": [3]}, "row 0: a dictionary is expected, not int"),
        "a field too many": ({"about": about, "rows": [row | {"speed": 1}]}, "no field 'speed'"),
        "a field too few": ({"about": about, "rows": [{"name": "x"}]}, "'ours' is missing"),
        "a text for a number": ({"about": about, "rows": [row | {"ours": "fast"}]}, "ours is 'fast'"),
        "a truth for a number": ({"about": about, "rows": [row | {"ours": True}]}, "ours is 'True'"),
        "nothing for a number": ({"about": about, "rows": [row | {"ours": None}]}, "ours is 'None'"),
        "no time at all": ({"about": about, "rows": [row | {"ours": 0}]}, "ours is 0"),
        "not a number": (json.dumps({"about": about, "rows": [row | {"ours": float("nan")}]}), "damaged"),
        "a library's text": ({"about": about, "rows": [row | {"libraries": {"torch: flash": "1"}}]}, "numbers above 0"),
        "no ratio": ({"about": about, "rows": [row | {"ratios": {}}]}, "different names"),
        "a goal": ({"about": about, "rows": [row | {"goals": [{"text": "1x"}]}]}, "goal 0: the field 'at_least'"),
        "no version": ({"about": about, "rows": [row | {"version": None}]}, "must have a version"),
    }


@pytest.mark.parametrize("what", damaged({}))
def test_a_damaged_or_foreign_file_gets_a_sentence(what, kept, tmp_path, command):
    row = json.loads(kept.read_text())["rows"][0]
    text, says = damaged(row)[what]
    path = tmp_path / "bad.json"
    text = text if isinstance(text, str | bytes) else json.dumps(text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, err = command("bench", "--from", path)
    assert status == 2 and out == "" and says in err and "bad.json" in err and err.count("\n") == 1


def test_what_cannot_stand_beside_from(kept, tmp_path, command):
    for more in (["attention"], ["--backend", "cuda"]):
        status, _, err = command("bench", *more, "--from", kept)
        assert status == 2 and "leave out the names of rows and --backend" in err
    status, _, err = command("bench", "--from", tmp_path / "none.json")
    assert status == 2 and "none.json: No such file" in err


def test_kept_rows_of_no_gpu_go_nowhere(page, tmp_path, command):
    before, rows = page.read_text(encoding="utf-8"), ladder_rows(device.EMULATED)
    path, picture, plain = tmp_path / "b.json", tmp_path / "l.png", tmp_path / "PLAIN.md"
    table.write_json(path, [*rows, *ladder_rows(device.CPU)], facts(rows))
    plain.write_text("\n".join(readme.markers(readme.CPU)))
    for flags, says in (
        (["--readme", page], "nothing was measured on a GPU"),
        (["--ladder", picture], "have no attention kernel"),
        (["--readme", plain], "none of these rows"),
    ):
        status, out, err = command("bench", "--from", path, *flags)
        assert status == 2 and out == "" and says in err and err.count("\n") == 1
    assert not picture.exists() and page.read_text(encoding="utf-8") == before
    assert command("bench", "--from", path)[0] == 0  # to look at is fine


def test_rows_of_a_cpu_come_back_into_their_table(tmp_path, command, monkeypatch):
    path, plain = tmp_path / "b.json", tmp_path / "PLAIN.md"
    monkeypatch.setattr(machine, "held", list)  # whatever is set where the tests run
    table.write_json(path, [Row("job", 0.5, "s", "other", 1.0, 2.0, "1.5x")], table.conditions(2))
    plain.write_text("\n".join(readme.markers(readme.CPU)))
    assert command("bench", "--from", path, "--readme", plain)[0] == 0
    assert "| job | 0.50 s | other | 1.00 s | **2.00x** | 1.5x |" in plain.read_text()


# -- the picture ---------------------------------------------------------------------------------------------------


def test_bars_and_lines_of_the_ladder():
    """Version r does 1 GFLOP in 1 / (1 + r) ms: (1 + r) TFLOP/s; flash 10 TFLOP/s, cuBLAS 20."""
    from minast.plots import figure

    found = ladder.by_dtype([*ladder_rows(), *ladder_rows(device.EMULATED)])
    assert {dtype: len(rows) for dtype, rows in found.items()} == {"float32": 4, "float16": 4, "bfloat16": 4}
    axes = figure().subplots()
    ladder.draw(axes, found["float32"])
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([1, 2, 3, 4])
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"version {r}" for r in range(4)]
    assert {line.get_label(): line.get_ydata()[0] for line in axes.lines} == pytest.approx(
        {"best SDPA (flash): 10": 10, "cuBLAS GEMM: 20": 20}
    )
    assert axes.get_ylim()[1] > 20 and axes.get_title() == "float32" and axes.get_ylabel() == "TFLOP/s"


def test_the_load_is_the_highest_of_all_files(tmp_path):
    for name, load in (("a", 0.2), ("b", 1.7), ("c", 0.4)):
        table.write_json(tmp_path / name, [Row(name, 1.0)], {"load": load, "threads": 2})
    assert stored.read([tmp_path / name for name in "abc"])[1] == {"load": 1.7, "threads": 2}


def test_a_ladder_without_a_library():
    rows = [DeviceRow("a", 1.0, device="GPU", job="attention forward", version=2, rate=3000.0)]
    assert ladder.lines(rows) == {} and list(ladder.by_dtype(rows)) == ["float32"]


def test_a_ladder_is_refused_before_anything_runs(tmp_path, command, monkeypatch):
    monkeypatch.setattr(runner, "measure", None)
    picture = tmp_path / "l.png"
    status, _, err = command("bench", "attention", "--backend", "emulator", "--ladder", picture)
    assert status == 2 and "emulator timings are not written to the picture" in err
    status, _, err = command("bench", "attention", "--ladder", tmp_path / "none" / "l.png")
    assert status == 2 and "there is no folder" in err
    if why_no_gpu():
        status, _, err = command("bench", "attention", "--ladder", picture)
        assert status == 2 and "this run has no GPU" in err
    assert list(tmp_path.iterdir()) == []


# -- rows that cannot run ------------------------------------------------------------------------------------------


@no_gpu
@pytest.mark.parametrize("row", catalogue.DEVICE)
def test_a_row_asked_for_that_cannot_run(row, command, monkeypatch):
    monkeypatch.setattr(runner, "measure", None)
    status, out, err = command("bench", row, "--backend", "cuda")
    assert status == 2 and out == "" and err.startswith(f"minast: {row}: no GPU here") and err.count("\n") == 1


@no_gpu
def test_rows_of_the_default_set_are_left_out(monkeypatch, command, tmp_path):
    """And a row whose check fails does not take the others' numbers with it."""

    def wrong(rounds):
        raise minast.Error("wrong: differs: nothing was timed.")

    whole = {name: catalogue.DEVICE[name] for name in ("step", "latency", "attention")}
    fine = catalogue.Entry(lambda rounds: [Row("fine", 1.0)], "")
    monkeypatch.setattr(catalogue, "ROWS", {**whole, "fine": fine})
    path = tmp_path / "b.json"
    status, _, err = command("bench", "--json", path)
    assert status == 0 and err.count("left out: no GPU here") == 3
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["fine"]
    monkeypatch.setitem(catalogue.ROWS, "wrong", catalogue.Entry(wrong, ""))
    path.unlink()
    status, _, err = command("bench", "wrong", "fine", "--json", path)
    assert status == 2 and "wrong: differs" in err and path.exists()
