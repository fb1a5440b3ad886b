"""The report of a run: its record is made from what the run knows, now or when it is opened again."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from .. import cli, pages
from ..checkpoint import Info
from ..model import AST
from ..pages.compare import COMPARISON, compare_page
from ..storage.files import atomic
from .choice import recipe
from .result import Result, remarks
from .run import Settings, TrainingData


def write_report(
    out: str,
    settings: Settings,
    data: TrainingData,
    model: AST,
    info: Info,
    result: Result,
    chosen: bool,
    history: Sequence[dict],
    command: str | None = None,
) -> dict:
    """report.json and report.html of the model that is quoted.   -> what report.json holds

    chosen: whether validation clips chose its epoch. history: of the whole run. command: that trained it.
    """
    mels, dataset = data.test or data.valid, data.dataset
    values, origin = settings.to_save(), info.notes.get("from")
    del values["folder"]  # of this machine, and no setting
    given = {"pretrained": None if origin == "random weights" else origin}
    usual, rest = recipe(dataset.kind, dataset.multilabel, given, len(data.train), info.features.frames)
    record = pages.run_record(
        model,
        info,
        dataset,
        mels,
        mels.clips,
        result.scores,
        name=os.path.basename(os.path.abspath(out)),
        split=result.split,
        epoch=result.epoch,
        chosen=chosen,
        scored=data.split,
        train=data.train,
        train_clips=data.train.clips,
        intervals=result.intervals,
        groups=result.groups,
        remarks=remarks(result),
        settings={"weights": origin, **values.pop("train"), **values},
        defaults={**asdict(usual), "preset": None if given["pretrained"] else rest["preset"]},
        history=history,
        command=command,
    )
    shown = {}  # without Matplotlib, the page has no pictures

    def draw():
        shown.update(pages.players(model, info, record, mels, mels.clips))

    cli.try_to_draw(f"{os.path.join(out, pages.HTML)}: a picture", draw)
    pages.write_report(out, record, shown)
    return record


def write_comparison(out: str, folders: Sequence[str]) -> None:
    """comparison.html of the runs in these folders below `out`, of those that have a report."""
    parent = os.path.basename(os.path.abspath(out))
    paths = {f"{parent}/{name}": os.path.join(out, name, pages.JSON) for name in folders}
    records = [{**pages.load_record(path), "name": name} for name, path in paths.items() if os.path.exists(path)]
    if records:
        with atomic(os.path.join(out, COMPARISON), "w", encoding="utf-8") as f:
            f.write(compare_page(records))
