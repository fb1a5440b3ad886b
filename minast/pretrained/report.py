"""What became of every array: taken unchanged, changed, fresh, or ignored; and what had to be assumed."""

import re
from dataclasses import dataclass, field


@dataclass
class Report:
    """`print(report)` shows it in a few lines; the lists hold every name."""

    source: str  # name of the file or folder
    kind: str  # of model and naming, in words
    taken: list[str] = field(default_factory=list)  # weights of minast that are a copy
    changed: dict[str, str] = field(default_factory=dict)  # weight -> what was done to it
    fresh: list[str] = field(default_factory=list)  # weights with random or default values
    ignored: list[str] = field(default_factory=list)  # arrays of the file that no weight is made of
    assumed: list[str] = field(default_factory=list)  # what the source does not say and was taken for granted
    notes: list[str] = field(default_factory=list)  # settings that were chosen, and why
    heard: bool = True  # the source was trained on sound

    def __str__(self):
        lines = [f"{self.source}: {self.kind}"]
        lines += [f"  taken    {line}" for line in grouped(self.taken)]
        lines += [f"  changed  {name}: {what}" for name, what in self.changed.items()]
        lines += [f"  fresh    {line}" for line in grouped(self.fresh)]
        lines += [f"  ignored  {line}" for line in grouped(self.ignored)]
        lines += [f"  assumed  {line}" for line in self.assumed]
        lines += [f"  note     {line}" for line in self.notes]
        return "\n".join(lines)

    def asdict(self) -> dict:
        """For a checkpoint's notes; the names of all blocks are one line, as in print."""
        return {
            "source": self.source,
            "kind": self.kind,
            "taken": grouped(self.taken),
            "changed": self.changed,
            "fresh": grouped(self.fresh),
            "ignored": grouped(self.ignored),
            "assumed": self.assumed,
            "notes": self.notes,
            "heard": self.heard,
        }


def grouped(names: list[str]) -> list[str]:
    """Names that differ only in the number of their block as one: blocks.0-11.norm1.weight."""
    groups = {}
    for name in names:
        number = re.search(r"(?<=blocks\.)\d+|(?<=layer\.)\d+|(?<=layers\.)\d+|(?<=encoderblock_)\d+", name)
        key = (name[: number.start()], name[number.end() :]) if number else (name, None)
        groups.setdefault(key, []).append(int(number[0]) if number else 0)
    out = []
    for (before, after), numbers in groups.items():
        if after is None:
            out.append(before)
        else:
            span = f"{min(numbers)}-{max(numbers)}" if len(numbers) > 1 else str(numbers[0])
            out.append(f"{before}{span}{after}")
    return out
