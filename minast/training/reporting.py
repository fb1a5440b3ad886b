"""The report of a run: its record is made from what the run knows, now or when it is opened again."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from .. import pages
from ..checkpoint import Info
from ..model import AST
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
    pages.write_report(out, record, pages.players(model, info, record, mels, mels.clips))
    return record
