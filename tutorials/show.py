"""What notebooks show: figures (from look.py), players, source code, tables, sentences with computed numbers.

A plain script shows none of it but the figures; everything is looked up there too, so that a name that no longer
exists fails there as well. How a notebook is written: README.md, "Writing a notebook".
"""

import base64
import html
import inspect
import io
import os
import re
import sys
import tempfile
import textwrap
import wave as wav
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import minast
from look import *  # noqa: F403  figures: a notebook finds them here
from minast.errors import Error
from minast.gpu import kernel_source

LONGEST = 200_000  # samples of one player: 16 bits each, and a notebook stays under 1 MB


def audio(wave, rate, title="", normalise=False):
    """A player for a short mono clip, stored in the notebook as 16-bit wav.   wave (S,) in [-1, 1], rate in Hz

    normalise: scale the loudest sample to 0.9, for clips too quiet to hear. Raises minast.Error for a clip of more
    than 200 000 samples, or one that would be clipped.
    """
    wave = np.asarray(wave, np.float64)
    peak = np.abs(wave).max(initial=0)
    if wave.ndim != 1 or wave.size > LONGEST:
        raise Error(f"the clip to play is {wave.shape}: it must be one channel of at most {LONGEST} samples.")
    if normalise and peak > 0:
        wave, peak = wave * 0.9 / peak, 0.9
    if not peak <= 1:
        raise Error(f"the clip to play reaches {peak:.3g}, full scale is 1: scale it, or pass normalise=True.")
    data = base64.b64encode(_wav_bytes(wave, rate)).decode()
    seconds = f"{len(wave) / rate:.2f} s"
    label = f"{html.escape(title)} ({seconds})" if title else seconds
    player = f'<audio controls preload="auto" src="data:audio/wav;base64,{data}"></audio>'
    _display({"text/html": f"<div>{label}<br>{player}</div>", "text/plain": f"Audio: {title or 'clip'}, {seconds}"})


def source(thing, *others, start=None, stop=None):
    """The real source of functions, classes or modules, highlighted.

    start, stop: only a part of it, from the first line that contains the text `start` up to, and without, the first
    later line that contains the text `stop`; or two line numbers, as in a slice. Raises minast.Error where a text is
    not found.
    """
    for one in (thing, *others):
        text = _part(textwrap.dedent(inspect.getsource(one)), start, stop)
        _code(text, "python", _place(inspect.getsourcefile(one)))


def kernel(file, *names, start=None, stop=None):
    """The real text of functions of one file in kernels/, with the comments and the template line above them.

    file: "attention.cu", also "common.cuh". start, stop: as in `source`. Raises minast.Error for a name that is not
    defined there.
    """
    path = kernel_source.folder() / file
    if not path.is_file():
        raise Error(f"there is no kernel file {file}.")
    text = path.read_text(encoding="utf-8")
    for name in names:
        _code(_part(_definition(text, name, file), start, stop), "cpp", f"kernels/{file}")


def table(rows, header):
    """A table.   rows: sequences of values, as long as `header`; a float is shown with four digits"""
    cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in (header, *rows)]
    if any(len(row) != len(header) for row in cells):
        raise Error(f"a row of the table does not have {len(header)} cells, as its header has.")
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    text = "\n".join([lines[0], "|" + " --- |" * len(header), *lines[1:]])
    _display({"text/markdown": text, "text/plain": text})


def say(text):
    """A paragraph of Markdown, for sentences whose numbers, or whose words, the cell has computed (an f-string)."""
    text = " ".join(text.split())
    if not in_notebook():
        print(text)
    _display({"text/markdown": text, "text/plain": text})


def picture(path, title=""):
    """A PNG from a file, in the notebook as it is. Raises minast.Error where there is none."""
    path = Path(path)
    if not path.is_file():
        raise Error(f"there is no picture {path.name}.")
    data = base64.b64encode(path.read_bytes()).decode()
    _display({"image/png": data, "text/plain": f"Picture: {title or path.name}"})


@contextmanager
def scratch_folder():
    """Work in a temporary folder: what a cell writes into `runs/` does not stay among the notebooks."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="minast-tutorial-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)  # first: some systems do not delete the folder that one is in


def in_notebook():
    """Is there a Jupyter kernel that displays things?"""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _display(bundle):
    if in_notebook():
        from IPython.display import display

        display(bundle, raw=True)


def _code(text, language, place):
    text = text.rstrip("\n")
    _display({"text/markdown": f"`{place}`\n```{language}\n{text}\n```", "text/plain": text})


def _wav_bytes(wave, rate):
    buffer = io.BytesIO()
    with wav.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(wave * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _place(path):
    """minast/layers.py, whether it lies in a checkout or in site-packages; no line number, which every edit moves."""
    path, package = Path(path).resolve(), Path(minast.__file__).resolve().parent  # the checkout may be a minast as well
    return path.relative_to(package.parent).as_posix() if package in path.parents else path.name


def _part(text, start, stop):
    lines = text.splitlines()
    first = _line(lines, start, 0, 0)
    last = _line(lines, stop, first + 1, len(lines))
    return textwrap.dedent("\n".join(lines[first:last]).strip("\n"))


def _line(lines, wanted, begin, default):
    if wanted is None or isinstance(wanted, int):
        return default if wanted is None else wanted
    found = [i for i in range(begin, len(lines)) if wanted in lines[i]]
    if not found:
        raise Error(f"the source to show has no line with {wanted!r}: it has changed, and the tutorial has to follow.")
    return found[0]


def _definition(text, name, file):
    """The lines of the C++ functions of that name, with the comments directly above them."""
    plain = kernel_source.without_comments(text)  # each line where it was
    found = []
    for match in re.finditer(rf"\b{re.escape(name)}\b[^\S\n]*\(", plain):
        body = re.compile(r"\s*\{").match(plain, _closing(plain, match.end() - 1))
        before = plain[: match.start()]
        if body and before.count("{") == before.count("}"):  # a definition, and not inside of another
            first = before.count("\n", 0, _head(before))
            lines = text.splitlines()
            while first and re.match(r"\s*//(?! --)", lines[first - 1]):
                first -= 1
            last = plain.count("\n", 0, _closing(plain, body.end() - 1))
            found.append("\n".join(lines[first : last + 1]))
    if not found:
        raise Error(f"kernels/{file} defines no function {name}.")
    return "\n\n".join(found)


def _head(before):
    """Where the last declaration of a text begins: after what ends the one before, or a line of the preprocessor."""
    ends = [m.end() for m in re.finditer(r"[;}]|^[^\S\n]*#.*$", before, re.M)]
    begin = max(ends, default=0)
    return begin + len(before[begin:]) - len(before[begin:].lstrip())


def _closing(text, at):
    """The place after the bracket that closes the one at `at`."""
    opening, depth = text[at], 0
    closing = {"(": ")", "{": "}"}[opening]
    for i in range(at, len(text)):
        depth += (text[i] == opening) - (text[i] == closing)
        if depth == 0:
            return i + 1
    raise Error("a bracket of a kernel's source is never closed.")
