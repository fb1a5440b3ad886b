"""The files that a run may write: a table in a README, the picture of the attention kernels.

What cannot be written is refused before anything is measured.
"""

from ..backend import GPU, why_no_gpu
from ..errors import Error
from . import machine, readme, table
from .gpu import ladder, tables
from .gpu.device import EMULATED, STAND_IN, gpu_name
from .gpu.rows import DeviceRow
from .row import Row


def refuse_run(page: str | None, picture: str | None, names: list[str], backend: str | None) -> None:
    """Raise Error if a run of these rows, with this --backend, could not write its files. page: the README, or None."""
    if picture:
        ladder.refuse(picture)
        _refuse_emulator(picture, backend, "picture; leave out --ladder")
        _refuse_without_gpu(picture, backend, ("cuda",), "the ladder")
        if names and "attention" not in names:
            raise Error(f"{picture}: the ladder needs the row attention, which is not among {', '.join(names)}.")
    if page:
        _refuse_emulator(page, backend, "table; leave out --readme")
        if _table_of(page) == readme.GPU:
            _refuse_without_gpu(page, backend, GPU, "its table")
        else:
            refuse_held(page, "while", " and ".join(machine.held()), "unset what is named here first")


def refuse_rows(page: str | None, picture: str | None, rows: list[Row], about: dict) -> None:
    """Raise Error if these rows cannot fill the files. about: the conditions under which they were measured."""
    if picture:
        ladder.refuse(picture, rows)
    if page and _table_of(page) == readme.GPU:
        tables.refuse(page, rows)
    elif page:
        if not of_cpu(rows):
            raise Error(f"{page}: none of these rows belong in its table; the table was not changed.")
        refuse_held(page, "since its rows were measured while", about.get("held"), "measure them again without")


def write(page: str | None, picture: str | None, rows: list[Row], about: dict) -> None:
    """Write the picture, then the table, with a link to the picture where both are of a GPU. about: the conditions."""
    if picture:
        ladder.write(picture, rows)
    if page and _table_of(page) == readme.GPU:
        tables.write(page, rows, about, picture)
    elif page:
        refuse_rows(page, None, rows, about)
        readme.write(page, readme.CPU, table.markdown(of_cpu(rows), about))


def of_cpu(rows: list[Row]) -> list[Row]:
    """The rows of README.md's table."""
    return [row for row in rows if not isinstance(row, DeviceRow)]


def _table_of(page):
    return readme.find(page, readme.GPU, readme.CPU)


def refuse_held(path: str, when: str, held: str | None, what_to_do: str) -> None:
    """Raise Error for a table of figures that are not the machine's. held: what held it back, if anything did."""
    if held:
        raise Error(f"{path}: the table is not written {when} {held}: {what_to_do}.")


def _refuse_emulator(path, backend, what):
    if backend == EMULATED:
        raise Error(f"{path}: emulator timings are not written to the {what}.")


def _refuse_without_gpu(path, backend, backends, what):
    if backend not in (None, *backends) or why_no_gpu() or gpu_name() == STAND_IN:
        raise Error(f"{path}: {what} contains GPU measurements only, and this run has no GPU.")
