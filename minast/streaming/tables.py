"""Events as tables that other programs open.

| format | what it is | one table |
| --- | --- | --- |
| csv | columns file, start, end, label, score; for spreadsheets, pandas, R | for all recordings |
| jsonl | a JSON object with the same names a line | for all recordings |
| audacity | a label track: start, end, label and score | for each recording |
| raven | a selection table of Raven Pro or Lite, with Begin Path and File Offset | for all recordings |

Times are in seconds from the recording's beginning, scores probabilities. Rows are in the order of the recordings;
those of one are sorted by start, end and label.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator

from ..errors import Error
from ..storage.files import atomic, below, common_folder
from ..storage.tables import write_table
from ..text import visible
from .remote import is_remote

ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".selections.txt": "raven"}
COLUMNS = ("file", "start", "end", "label", "score")
RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", "File Offset (s)", "Label", "Score"),
)

Results = Iterable[tuple[str, dict]]  # a recording's path or address, and what `work.Scanner` found in it


def format_of(out: str, given: str | None) -> str:
    """The format of a table by its name. Raises minast.Error where the name does not tell, and none is given."""
    if given:
        return given
    for ending, name in ENDINGS.items():
        if out.lower().endswith(ending):
            return name
    raise Error(
        f"--out is {visible(out)}: its name does not tell the format: end it in {', '.join(ENDINGS)}, or add --format."
    )


def found(results: Results, labels: list[str]) -> Iterator[tuple[str, float, float, str, float]]:
    """Each event as a row of COLUMNS."""
    for name, result in results:
        for start, end, label, score in result.get("events", ()):
            yield name, start, end, labels[label], score


def write_csv(out: str, results: Results, labels: list[str], rate: int) -> None:
    """See the head of the module."""
    write_table(out, COLUMNS, found(results, labels))


def write_jsonl(out: str, results: Results, labels: list[str], rate: int) -> None:
    """See the head of the module. Characters beyond ASCII are escaped, so that any file name can be read back."""
    with atomic(out, "w", encoding="ascii", newline="\n") as f:
        f.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in found(results, labels))


def write_raven(out: str, results: Results, labels: list[str], rate: int) -> None:
    """A selection table. Open the recordings in Raven as one sequence, in their order here, and then the table.

    Begin Time and End Time count from the beginning of the sequence, as Raven has it; File Offset counts from the
    recording's. Selections reach from 0 Hz to what the model can hear, half its rate (Hz), or the recording's if that
    is lower. Skipped recordings are no part of the sequence.
    """
    with atomic(out, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as f:
        f.write("\t".join(RAVEN) + "\n")
        number, before = 0, 0.0  # selections, seconds of earlier recordings
        for name, result in results:
            path = visible(name if is_remote(name) else os.path.abspath(name), 10**5)
            top = min(rate, result.get("rate", rate)) / 2
            for start, end, label, score in result.get("events", ()):
                number += 1
                times = f"{before + start:.3f}\t{before + end:.3f}"
                row = (number, "Spectrogram 1", 1, times, 0.0, top, path, f"{start:.3f}", visible(labels[label]), score)
                f.write("\t".join(map(str, row)) + "\n")
            before += result.get("seconds", 0.0)


def write_audacity(out: str, results: Results, labels: list[str], rate: int) -> None:
    """Label tracks. For a single recording `out` is the file; else the folder for one with the name of each recording.

    Recordings in which nothing was heard have none, or an empty one in place of an earlier scan's. Tracks lie in
    sub-folders as the recordings do below the folder that they share.
    """
    names = [name for name, _ in results]
    single = len(names) == 1 and not os.path.isdir(out)
    base = "" if single else common_folder({os.path.dirname(name) for name in names if not is_remote(name)})
    for name, result in results:
        lines = [f"{a:.6f}\t{b:.6f}\t{visible(labels[k])} {p}\n" for a, b, k, p in result.get("events", ())]
        path = out if single else os.path.join(out, _below(name, base) + ".txt")
        if lines or single or ("error" not in result and os.path.exists(path)):
            _folder(os.path.dirname(path))
            with atomic(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n", sync=single) as f:
                f.writelines(lines)


WRITERS: dict[str, Callable] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "audacity": write_audacity,
    "raven": write_raven,
}


def _below(name, base):
    """A recording's path below the shared folder; that of an address without its scheme."""
    if is_remote(name):
        return name.partition("://")[2].strip("/").replace("..", "_")
    drive, path = os.path.splitdrive(below(name, base))  # "C:", where there are several
    return os.path.join(drive.strip(":\\/"), path.lstrip("\\/") if drive else path)


def _folder(path):
    try:
        os.makedirs(path or ".", exist_ok=True)
    except OSError as error:
        raise Error(f"the folder {visible(path)} cannot be made: {error.strerror or error}.") from None
