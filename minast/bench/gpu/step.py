"""A training step of base with 32 clips in bfloat16, against transformers' AST under autocast."""

from collections.abc import Callable

from ..pytorch.memory import free_compiled
from ..pytorch.model import NAME
from .device import open_device
from .rows import DeviceRow, Goal, row
from .whole import Ours, check_ours, checked_trainer, make_job

WAYS: dict[str, dict] = {  # of training: name -> the settings of a `pytorch.model.Trainer`
    f"{NAME}: SDPA": {},
    f"{NAME}: SDPA, torch.compile": {"compiled": True},
    f"{NAME}: eager attention": {"attention": "eager"},
}
GOALS = [Goal(f"{least}x", least, name) for least, name in zip((1.0, 0.85, 1.5), WAYS, strict=True)]


def step(rounds: int, backend: str | None = None) -> list[DeviceRow]:
    """The row of a training step.

    Before each call all unused memory is released, since unfused attention needs most of it. What a side keeps from
    one step to the next stays: of ours, the arena.
    """
    device = open_device(backend)
    job = make_job(device, 32)
    name, ours = f"{job.label}, training step, batch {len(job.x)}, bfloat16", Ours(device, job)
    check_ours(name, ours, job)
    calls: dict[str, Callable] = {}
    without: dict[str, str] = {}
    for way, how in WAYS.items():
        if trainer := checked_trainer(device, job, way, how, without):
            calls[way] = trainer.step
    trainer = None
    (mine,), beside = device.beside([ours.step], calls, without, rounds, apart=True)
    calls.clear()
    free_compiled(device)
    return [
        row(
            device,
            name,
            "bfloat16",
            mine,
            amount=len(job.x),
            rate_unit="clips/s",
            libraries=beside,
            without=without,
            goals=GOALS,
            job="step",
        )
    ]
