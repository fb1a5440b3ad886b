"""Render the tutorials: each NN_topic.py (percent format) is run and becomes NN_topic.ipynb, outputs included.

    python tutorials/build.py                  all of them
    python tutorials/build.py 01 02_patches    these
    python tutorials/build.py --check          run all, write nothing, say which .ipynb are not those of their sources,
                                               and which of their numbers a fresh run does not give again (compare.py)
    python tutorials/build.py --html FOLDER    also a page each, for reading
    python tutorials/build.py --times          also the seconds each took and the minutes to read it, into README.md

What would differ from one build to the next is left out: times of execution, random cell names, progress bars. Exit
status: 0, or 1 where a notebook is out of date, or 2 where one fails.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # this checkout's minast, whatever is installed

from compare import changed_cells, changed_outputs, reading_minutes  # noqa: E402
from minast.errors import Error  # noqa: E402
from minast.storage.files import atomic, writable_folder  # noqa: E402
from pages import page  # noqa: E402
from palette import smaller  # noqa: E402

LARGEST = 2_000_000  # bytes of a notebook
TIMEOUT = 600  # seconds a cell
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which, by the beginning of their names (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="run, write nothing, compare the .ipynb with the sources")
    parser.add_argument("--html", metavar="FOLDER", help="also write NN_topic.html there")
    parser.add_argument("--times", action="store_true", help="also write the seconds each took into README.md")
    options = parser.parse_args(argv)
    sources = chosen(options.names)
    tools()
    if options.html:
        writable_folder(options.html)
    status = 0
    for source in sources:
        notebook, seconds = render(source)
        text = dumps(notebook, source)
        print(f"{source.stem}: {len(notebook.cells)} cells, {len(text.encode()) / 1000:.0f} kB, {seconds:.0f} s")
        target = source.with_suffix(".ipynb")
        if options.check:
            for problem in stale(source, notebook):
                print(f"{target.name} is not that of its source: {problem}")
                status = 1
        else:
            write(target, text)
        if options.html:
            write(Path(options.html) / f"{source.stem}.html", page(notebook, source.stem, HERE))
        if options.times and not options.check:
            readme = with_time((HERE / "README.md").read_text("utf-8"), source.stem, seconds)
            write(HERE / "README.md", with_time(readme, source.stem, reading_minutes(notebook), "read"))
    return status


def sources():
    """The notebooks' sources, in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def chosen(names):
    """The sources whose names begin with one of `names`; all without any."""
    unknown = [n for n in names if not any(s.stem.startswith(Path(n).stem) for s in sources())]
    if unknown:
        raise Error(f"there is no tutorial {unknown[0]}: there are {', '.join(s.stem for s in sources())}.")
    return [s for s in sources() if not names or any(s.stem.startswith(Path(n).stem) for n in names)]


TOOLS = ("jupytext", "nbclient", "nbformat", "ipykernel", "nbconvert")


def tools():
    """(jupytext, nbclient, nbformat). Raises minast.Error that names every tool that is missing."""
    found, missing = {}, []
    for name in TOOLS:
        try:
            found[name] = importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        names = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
        are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise Error(
            f"{names} {are} not installed: building the notebooks needs {them}. "
            f"Install {them} with: pip install '.[tutorials]'"
        )
    return found["jupytext"], found["nbclient"], found["nbformat"]


# -- from source to notebook -----------------------------------------------------------------------------------


def render(source):
    """Run one source from the folder tutorials/ in a fresh kernel.   -> (notebook, seconds)"""
    jupytext, nbclient, _ = tools()
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = dict(NOTEBOOK_METADATA)
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],  # recent kernels warn about the transport each time
    )
    begin = time.perf_counter()
    try:
        client.execute(env=environment())
    except nbclient.exceptions.CellExecutionError as error:
        raise Error(f"{source.name} fails.\n{without_colours(str(error)).strip()}") from None
    except nbclient.exceptions.CellTimeoutError:
        raise Error(f"{source.name}: a cell takes more than {TIMEOUT} s.") from None
    return settled(notebook, source), time.perf_counter() - begin


def environment():
    """What the kernel sees: this checkout's minast, pictures drawn into the notebook, no compiled files left behind."""
    kept = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def settled(notebook, source):
    """Without what changes from run to run. Raises minast.Error where an output names a folder of this machine."""
    notebook.metadata = dict(NOTEBOOK_METADATA)
    seen = set()
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata = {}
        cell.id = cell_id(cell, seen)
        if cell.cell_type != "code":
            continue
        cell.outputs = merged(cell.outputs)
        for output in cell.outputs:
            kept = output.get("metadata", {}).get("image/png")  # the size at which a picture is shown
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                output.metadata.update({"image/png": kept} if kept else {})
                output.data["image/png"] = smaller(output.data["image/png"])
            private = re.search(rf"({PRIVATE}).{{,150}}", readable(output))
            if private:
                raise Error(f"{source.name}, cell {number}: its output names a place on this machine: {private[0]}")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


PRIVATE = "|".join([r"ipykernel_\d+", *(re.escape(f"{p}{os.sep}") for p in (ROOT, Path.home(), tempfile.gettempdir()))])


def readable(output):
    """An output's text, without pictures and sounds: base64 may spell anything."""
    kept = {kind: v for kind, v in output.get("data", {}).items() if not kind.startswith("image/")}
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", json.dumps({**output, "data": kept}))


def cell_id(cell, seen):
    """A name made from the content: the same cell has the same name in every build."""
    for repeat in range(1000):
        name = hashlib.sha256(f"{cell.cell_type} {repeat} {cell.source}".encode()).hexdigest()[:8]
        if name not in seen:
            break
    seen.add(name)
    return name


def merged(outputs):
    """Neighbouring pieces of one stream joined, and progress bars gone."""
    result = []
    for output in outputs:
        if output.output_type == "stream" and result and result[-1].get("name") == output.name:
            result[-1].text += output.text
        else:
            result.append(output)
    for output in result:
        if output.output_type == "stream":
            output.text = without_bars(output.text)
    return [o for o in result if o.output_type != "stream" or o.text.strip()]


def without_bars(text):
    """A line that was written over, as a progress bar does by a carriage return, leaves nothing."""
    return "\n".join(line for line in text.replace("\r\n", "\n").split("\n") if "\r" not in line)


def without_colours(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def dumps(notebook, source):
    """The file's text. Raises minast.Error for more than LARGEST bytes, naming the cells with the largest outputs."""
    _, _, nbformat = tools()
    text = nbformat.writes(notebook) + "\n"
    size = len(text.encode())
    if size > LARGEST:
        sizes = {i: len(json.dumps(c.get("outputs", []))) for i, c in enumerate(notebook.cells, 1)}
        worst = sorted(sizes, key=sizes.get)[:-4:-1]
        named = ", ".join(f"cell {i}: {sizes[i] / 1000:.0f} kB" for i in worst)
        raise Error(f"{source.stem}.ipynb would have {size / 1e6:.2f} MB, the limit is {LARGEST / 1e6:g} MB ({named}).")
    return text


def write(path, text):
    with atomic(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)


# -- comparing -------------------------------------------------------------------------------------------------


def read(path):
    """A source or a notebook."""
    jupytext, _, nbformat = tools()
    return jupytext.read(path, fmt="py:percent") if path.suffix == ".py" else nbformat.read(path, as_version=4)


def stale(source, fresh=None):
    """In what ways the notebook beside this source is not that of the source: a list of sentences.

    fresh: a new run of the source, whose outputs are compared as well.
    """
    target = source.with_suffix(".ipynb")
    if not target.is_file():
        return ["it does not exist"]
    old = read(target)
    cell = changed_cells(read(source), old)
    if cell:
        return [f"they differ from cell {cell} on; run tutorials/build.py {source.stem}"]
    return changed_outputs(fresh, old) if fresh else []


def with_time(readme, stem, value, kind="time"):
    """README's text with a measured time between `<!-- time:NN_topic -->` and `<!-- end -->`.

    kind: "time", seconds to run; "read", minutes to read, to five of them.
    """
    mark = f"<!-- {kind}:{stem} -->"
    if mark not in readme:
        raise Error(f"tutorials/README.md has no place {mark} ... <!-- end --> for a time.")
    text = f"{value:.0f} s" if kind == "time" else f"{max(5, 5 * round(value / 5))} min"
    return re.sub(rf"({re.escape(mark)}).*?(<!-- end -->)", rf"\g<1>{text}\g<2>", readme)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as error:
        print(f"build: {error}", file=sys.stderr)
        sys.exit(2)
