"""The tutorials: sources run as plain scripts, notebooks are those of the sources, exercises judge rightly."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minast
from tests.emulated import missing

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tutorials"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
LONG = [s for s in SOURCES if s.stem[:2] in ("00", "05", "06", "09")]  # a minute or more; .ci/run names the others
SHORT = [s for s in SOURCES if s not in LONG]
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TOPICS = sorted(p.stem for p in (FOLDER / "exercises").glob("*.py") if p.stem not in ("__init__", "verdict"))

sys.path.insert(0, str(FOLDER))
from compare import changed_outputs  # noqa: E402


def load_build():
    """tutorials/build.py under another name: `build` belongs to others."""
    spec = importlib.util.spec_from_file_location("build_tutorials", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()


def exercises(topic):
    """{name: check} of a topic."""
    module = importlib.import_module(f"exercises.{topic}")
    return {k: v for k, v in vars(module).items() if getattr(v, "is_exercise", False)}


ALL = [(topic, name) for topic in TOPICS for name in exercises(topic)]


def need_emulator_for(topic):
    """Skip a test of a notebook on kernels where the emulator cannot run; in CI (CI=true) that is a failure."""
    if topic not in TOPICS or not getattr(importlib.import_module(f"exercises.{topic}"), "NEEDS_EMULATOR", False):
        return
    why = missing()
    if why:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{topic} runs kernels: {why}")


def stems(paths):
    return [p.stem for p in paths]


# -- sources ---------------------------------------------------------------------------------------------------


def in_folder():
    return {p: p.stat().st_mtime_ns for p in FOLDER.rglob("*") if "__pycache__" not in p.parts}


def run(tmp_path, *command):
    """What it prints, started in another folder: without a warning of arithmetic, leaving nothing behind."""
    before = in_folder()
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir(), temporary.mkdir()
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    # a notebook closes its figures, a script does not
    warnings = ("-W", "error::RuntimeWarning", "-W", "ignore:More than")
    result = subprocess.run(
        [sys.executable, *warnings, *command],
        capture_output=True,
        text=True,
        cwd=work,
        env={**environment, "TMPDIR": str(temporary)},
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert list(work.iterdir()) == [] and list(temporary.iterdir()) == []
    assert in_folder() == before
    return result.stdout


def check_nothing_is_answered(topic, text):
    if topic in TOPICS:
        assert text.count("Not done yet: ") == len(exercises(topic)), "an exercise is missing, or has an answer"


@pytest.mark.parametrize("source", SHORT, ids=stems(SHORT))
def test_runs_as_a_script(source, tmp_path):
    topic = source.stem[3:]
    need_emulator_for(topic)
    check_nothing_is_answered(topic, run(tmp_path, str(source)))


@pytest.mark.parametrize("source", LONG, ids=stems(LONG))
def test_cells_give_what_is_stored(source, tmp_path, monkeypatch):
    """Those that train run without Jupyter, cell by cell; build.py does not run them in CI, where outputs are compared.

    Elsewhere they are not compared: other processors round differently. On one thread: beside other tests two take a
    quarter more of the processors in all.
    """
    monkeypatch.setenv("MINAST_THREADS", "1")
    notebook = source.with_suffix(".ipynb")
    printed = run(tmp_path, str(Path(__file__).with_name("cells.py")), str(notebook))
    check_nothing_is_answered(source.stem[3:], printed)
    old = plain_cells(json.loads(notebook.read_text(encoding="utf-8"))["cells"])
    outputs = json.loads(printed.splitlines()[-1])
    new = [SimpleNamespace(**{**vars(cell), "outputs": found}) for cell, found in zip(old, outputs, strict=True)]
    if os.environ.get("CI") == "true":
        assert changed_outputs(SimpleNamespace(cells=new), SimpleNamespace(cells=old)) == []


def plain_cells(cells):
    """The code cells of a notebook's JSON, whose texts are lists of lines, as `compare` wants them."""
    return [
        SimpleNamespace(cell_type="code", source="".join(cell["source"]), outputs=[joined(o) for o in cell["outputs"]])
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def joined(output):
    whole = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
    return {**output, **({"data": whole} if "data" in output else {"text": "".join(output["text"])})}


@pytest.mark.parametrize("source", SOURCES, ids=stems(SOURCES))
def test_form(source):
    """A title, no magics, no shell: what a plain Python can run and a reader can find the way in."""
    text = source.read_text(encoding="utf-8")
    assert re.match(rf"# %% \[markdown\]\n# # {int(source.stem[:2])}\. \w", text)
    assert not re.search(r"^\s*(%|!|get_ipython)", text, re.M)
    assert f"\n# ![You are here](pictures/here_{source.stem[:2]}.svg)\n" in text
    assert re.search(r"^# \*\*Needs:\*\* ", text, re.M) and "\nshow.style()\n" in text
    for part in ("What to remember", "Where this is in minast", "Next"):
        assert re.search(rf"^# ##+ {part}", text, re.M), f"there is no part {part!r}"


@pytest.mark.parametrize("source", SOURCES, ids=stems(SOURCES))
def test_headings_and_exercises_have_one_form(source):
    """Sections and exercises are numbered; an exercise has stars, a hint, a link to its solution, a whole stub."""
    text, chapter = source.read_text(encoding="utf-8"), int(source.stem[:2])
    sections = re.findall(r"^# ## (\d+)\.(\d+) \w", text, re.M)
    assert [(int(a), int(b)) for a, b in sections] == [(chapter, i + 1) for i in range(len(sections))] and sections
    parts = re.split(r"^# ### Exercise ", text, flags=re.M)[1:]
    for i, part in enumerate(parts, 1):
        assert re.match(rf"{chapter}\.{i} ★{{1,3}} \w", part), part[:60]
        before, _, after = part.partition("your code")
        assert "# <details><summary>Hint</summary>\n#\n" in before and "# </details>\n" in before, part[:60]
        assert re.search(r"\[Solution\]\(solutions/\w+\.py\)", before) and "check." in after, part[:60]
        assert part.count("your code: replace this line") == 1, part[:60]
    assert len(parts) == (len(exercises(source.stem[3:])) if source.stem[3:] in TOPICS else 0)
    assert not re.search(r"^(?!#).*\bdef .*your code", text, re.M), "the reader would delete the def"


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (8000, 1)])
def test_a_sound_of_ones_own(rate, channels, tmp_path, monkeypatch):
    """The cell of notebook 0 that reads the reader's recording: any rate, any channels; else a whistle."""
    soundfile = pytest.importorskip("soundfile")
    import show

    source = next(FOLDER.glob("00_*.py")).read_text(encoding="utf-8")
    (cell,) = (c for c in source.split("# %%\n") if "MY_SOUND = " in c)
    cell = cell.split("# %% [markdown]")[0]
    path = tmp_path / "mine.wav"
    soundfile.write(path, np.full((2 * rate, channels), 0.25), rate)
    for where, seconds in ((str(path), 2), ("", 3)):
        monkeypatch.setenv("MINAST_SOUND", where)
        names = {"os": os, "np": np, "minast": minast, "show": show, "rate": 16000}
        exec(cell, names)
        assert names["mine"].shape == (16000 * seconds,) and names["mine"].dtype == np.float32


# -- notebooks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=stems(NOTEBOOKS))
def test_notebook_is_that_of_its_source(notebook):
    pytest.importorskip("jupytext", reason="jupytext is not installed: pip install '.[tutorials]'")
    source = notebook.with_suffix(".py")
    assert source.is_file(), "there is no source for it"
    assert build.stale(source) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=stems(NOTEBOOKS))
def test_notebook_has_its_outputs(notebook):
    assert notebook.stat().st_size < build.LARGEST
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), "it has not been run in order"
    outputs = [o for c in code for o in c["outputs"]]
    assert outputs and not [o for o in outputs if o["output_type"] == "error"]
    assert any("image/png" in o.get("data", {}) for o in outputs)


# -- exercises -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS)
def test_every_exercise_has_a_solution_and_wrong_answers(topic):
    names = set(exercises(topic))
    wrong = importlib.import_module(f"exercises.{topic}").WRONG
    solutions = importlib.import_module(f"solutions.{topic}")
    assert names and set(wrong) == names and all(wrong.values())
    assert all(hasattr(solutions, name) for name in names)
    (source,) = FOLDER.glob(f"[0-9][0-9]_{topic}.py")
    text = source.read_text(encoding="utf-8")
    assert all(f"check.{name}(" in text for name in names)


@pytest.mark.parametrize(("topic", "name"), ALL)
def test_the_solution_is_right_and_a_stub_is_not_done(topic, name, capsys):
    need_emulator_for(topic)
    check, solution = exercises(topic)[name], getattr(importlib.import_module(f"solutions.{topic}"), name)
    assert check(solution) is True, capsys.readouterr().out
    assert capsys.readouterr().out.startswith("Right. ")
    assert check(None if isinstance(solution, str) else lambda *a, **k: None) is None
    assert capsys.readouterr().out.startswith("Not done yet: ")


@pytest.mark.parametrize(("topic", "name"), ALL)
def test_wrong_answers_are_noticed(topic, name, capsys):
    need_emulator_for(topic)
    for i, answer in enumerate(importlib.import_module(f"exercises.{topic}").WRONG[name]):
        answer, reason = answer if isinstance(answer, tuple) else (answer, "")
        assert exercises(topic)[name](answer) is False, f"wrong answer {i}: {capsys.readouterr().out}"
        said = capsys.readouterr().out
        assert said.startswith("Wrong: ") and reason in said, f"wrong answer {i}: {said}"


@pytest.mark.parametrize(("topic", "name"), ALL)
def test_unusual_right_answers_are_accepted(topic, name, capsys):
    need_emulator_for(topic)
    for i, answer in enumerate(getattr(importlib.import_module(f"exercises.{topic}"), "RIGHT", {}).get(name, [])):
        assert exercises(topic)[name](answer) is True, f"right answer {i}: {capsys.readouterr().out}"


def test_notebooks_on_kernels_say_that_they_need_the_emulator():
    for topic in TOPICS:
        text = (FOLDER / "exercises" / f"{topic}.py").read_text(encoding="utf-8")
        needs = getattr(importlib.import_module(f"exercises.{topic}"), "NEEDS_EMULATOR", False)
        assert needs == ("judged_run(" in text), topic


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_a_compiler_ci_fails_and_others_skip(monkeypatch, ci, outcome):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CI", ci)
    for topic in ("first_kernel", "fast_attention"):
        with pytest.raises(outcome, match=f"{topic} runs kernels: .*no-such-compiler"):
            need_emulator_for(topic)
    need_emulator_for("attention")


# -- the README and the builder --------------------------------------------------------------------------------


def test_the_readme_names_every_notebook():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for source in SOURCES:
        assert f"({source.stem}.ipynb)" in readme, source.stem
        assert f"<!-- time:{source.stem} -->" in readme and f"<!-- read:{source.stem} -->" in readme, source.stem


def test_the_map_says_only_what_is_taught():
    """A formula with a notebook's number: its function is named in that notebook."""
    rows = re.findall(r"^\| ([\d, ]*) \| .*? \| (`.*?`) \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 25
    for numbers, places in rows:
        texts = [
            next(FOLDER.glob(f"{int(n):02}_*.py")).read_text(encoding="utf-8") for n in numbers.split(",") if n.strip()
        ]
        for name in re.findall(r": (\w+)", places):
            assert not texts or any(re.search(rf"\b{name}\b", t) for t in texts), f"{name} is not in notebook {numbers}"


def test_the_readmes_map_leads_somewhere():
    """Each `file.py: name` of the map from formulas to functions and tests exists."""
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:minast|tests|kernels)/[\w/.]+?)(?:: (\w+))?`", readme)
    assert len(places) > 20
    for path, name in places:
        text = (ROOT / path).read_text(encoding="utf-8")
        head = rf"(def|class) {name}\b" if path.endswith(".py") else rf"^[^/]*\b{name}\("
        assert not name or re.search(head, text, re.M), f"{path} has no {name}"


def test_a_time_goes_between_its_markers():
    text = "| <!-- time:01_a -->3 s<!-- end --> | <!-- time:02_b --><!-- end --> |"
    assert (
        build.with_time(text, "02_b", 7.4)
        == "| <!-- time:01_a -->3 s<!-- end --> | <!-- time:02_b -->7 s<!-- end --> |"
    )
    with pytest.raises(build.Error, match="03_c"):
        build.with_time(text, "03_c", 1)
    assert (
        build.with_time("<!-- read:02_b -->?<!-- end -->", "02_b", 42.6, "read")
        == "<!-- read:02_b -->45 min<!-- end -->"
    )


def test_an_unknown_name_is_one_sentence():
    result = subprocess.run([sys.executable, FOLDER / "build.py", "99"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stderr.startswith("build: there is no tutorial 99")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["jupytext"], "jupytext is not installed: building the notebooks needs it. Install it with"),
        (["jupytext", "ipykernel"], "jupytext and ipykernel are not installed: building the notebooks needs them"),
        (build.TOOLS, "jupytext, nbclient, nbformat, ipykernel and nbconvert are not installed"),
    ],
)
def test_missing_tools_are_one_sentence(monkeypatch, missing, words):
    """All that are missing, at once; whatever is installed here."""
    for name in build.TOOLS:  # None: what Python makes of a module that is not there
        monkeypatch.setitem(sys.modules, name, None if name in missing else types.ModuleType(name))
    with pytest.raises(build.Error, match=rf"^{words}.*: pip install '\.\[tutorials\]'$"):
        build.main([])


def test_progress_bars_leave_nothing():
    assert build.without_bars("a\n\r 0%|  |\r100%|##|\nb\n") == "a\nb\n"


def test_pictures_and_sounds_may_spell_anything():
    data = {
        "image/png": "abc/tmp/def",
        "text/html": "<audio src='data:audio/wav;base64,abc/tmp/def='>",
        "text/plain": "x",
    }
    assert "/tmp/" not in build.readable({"output_type": "display_data", "data": data})
    assert "/tmp/" in build.readable({"output_type": "stream", "text": "/tmp/a"})


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tutorials folder with one small notebook."""
    pytest.importorskip("jupytext", reason="jupytext is not installed: pip install '.[tutorials]'")
    monkeypatch.setattr(build, "HERE", tmp_path)
    source = tmp_path / "01_small.py"
    source.write_text(
        "# %% [markdown]\n# # 1. Small $x^2$\n# %%\nimport sys\nprint('\\r', 5 * 10, 'done', end='', file=sys.stderr)\n"
        "print('four')\n# %%\n2 + 3\n# %%\n2 + 3\n"
    )
    return source


def test_building_twice_gives_the_same_bytes(small, capsys):
    target = small.with_suffix(".ipynb")
    assert build.main(["--check"]) == 1 and "it does not exist" in capsys.readouterr().out and not target.exists()
    assert build.main([]) == 0
    first = target.read_bytes()
    text = first.decode()
    assert "four" in text and "50 done" not in text and "shell.execute_reply" not in text
    assert build.main(["01"]) == 0 and target.read_bytes() == first
    assert build.main(["--check"]) == 0
    small.write_text(small.read_text().replace("2 + 3", "2 + 4"))
    assert build.main(["--check"]) == 1 and target.read_bytes() == first
    assert "differ from cell 3" in capsys.readouterr().out
    small.write_text(small.read_text().replace("2 + 4", "2 + 3"))
    target.write_bytes(first.replace(b'5"', b'6"'))  # the output of 2 + 3
    assert build.main(["--check"]) == 1
    assert "cell 3: a fresh run gives 5, the notebook 6" in capsys.readouterr().out
    target.write_bytes(first)
    assert sorted(p.name for p in small.parent.iterdir()) == ["01_small.ipynb", "01_small.py"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("print('x' * 2_100_000)", "the limit is 2 MB"),
        ("import pathlib; print(pathlib.Path.home() / 'a')", "names a place on this machine"),
    ],
)
def test_what_is_refused_leaves_no_notebook(small, code, words):
    small.write_text(f"# %%\n{code}\n")
    with pytest.raises(build.Error, match=words):
        build.main([])
    assert [p.name for p in small.parent.iterdir()] == ["01_small.py"]


def test_a_hint_is_folded_in_a_page(small, tmp_path):
    small.write_text(
        "# %% [markdown]\n# <details><summary>Hint</summary>\n#\n# Look *here*.\n#\n# </details>\n#\n# after\n"
    )
    assert build.main(["--html", str(tmp_path / "pages")]) == 0
    text = (tmp_path / "pages" / "01_small.html").read_text()
    assert re.search(
        r"<details><summary>Hint</summary>\s*<p>Look <em>here</em>\.</p>\s*</details>\s*<p>after</p>", text
    )


def test_html_and_times(small, tmp_path):
    readme = small.parent / "README.md"
    readme.write_text("<!-- time:01_small --><!-- end --> <!-- read:01_small --><!-- end -->")
    assert build.main(["--html", str(tmp_path / "pages"), "--times"]) == 0
    assert "Small" in (tmp_path / "pages" / "01_small.html").read_text()
    written = re.fullmatch(
        r"<!-- time:01_small -->\d+ s<!-- end --> <!-- read:01_small -->5 min<!-- end -->", readme.read_text()
    )
    assert written


# -- links -----------------------------------------------------------------------------------------------------

FOLDERS = ("", "minast", "minast/bench", "kernels", "tutorials", "tests")
PAGES = [ROOT / name / "README.md" for name in FOLDERS] + SOURCES + NOTEBOOKS


def written(path):
    """The text of a page with its links: of a notebook the text cells, of a source its comments in Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = (c for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
        return "\n".join("".join(c["source"]) for c in cells)
    return text if path.suffix == ".md" else "\n".join(re.findall(r"^# .*", text, re.M))


def links_of(text):
    """The relative links and pictures of a page, without what follows #."""
    found = [a or b for a, b in re.findall(r"\]\(([^)\s]+)[^)]*\)|\b(?:href|src)=\"([^\"]+)\"", text)]
    return [link.split("#")[0] for link in found if not re.match(r"[a-z]+:|#", link)]


def test_links_of_a_page_are_found():
    text = 'See [a](../a.py), ![b](pictures/b.svg "b"), [c](c.md#part), <img src="d.png">, [e](https://e.org), [f](#f).'
    assert links_of(text) == ["../a.py", "pictures/b.svg", "c.md", "d.png"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_to_a_file(page):
    """From the page's own folder, to a file or folder of the repository."""
    links = links_of(written(page))
    assert links, "a page without a link: is its form still what links_of reads?"
    assert [link for link in links if not (page.parent / link).exists()] == []
