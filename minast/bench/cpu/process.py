"""What only a whole process shows: its peak memory, the time of an import, the time from a cold start to an answer."""

import os
import sys
import tempfile
import textwrap
import time

import numpy as np

from ...checkpoint import save
from ...config import FeatureConfig
from ..child import python
from ..pytorch import model as theirs
from ..pytorch.twin import save_pretrained
from ..row import Row, Skip
from . import models

CHILD = "import sys; from minast.bench.cpu import process; process.train(*sys.argv[1:])"


def train(side: str, preset: str, frames: str, batch: str) -> None:
    """What the child of `memory` does: two training steps, then it prints its peak memory in bytes."""
    model, x, y = models.setting(preset, int(frames), int(batch))
    if side == "minast":
        step = models.training_step(model, x, y)
    else:
        torch = theirs.OnProcessor(model)
        del model  # theirs only
        step, _ = torch.training_step(x, y)
    step(), step()
    print(peak_memory())


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes.

    Not Linux's ru_maxrss: a process inherits that from the one that started it, here a benchmark of many GiB.
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory(rounds: int) -> list[Row]:
    """The row of a base training step's peak memory, 10 s, batch 2, in GiB. It does not vary: one process a side."""
    ours = float(python("-c", CHILD, "minast", "base", "1024", "2")) / 2**30
    row = Row("base, 10 s, training step, batch 2: peak memory", ours, "GiB", goal="0.6 of it")
    try:
        row.theirs = float(python("-c", CHILD, "torch", "base", "1024", "2")) / 2**30
    except Skip as reason:
        row.note = f"no comparison: {reason}"
        return [row]
    row.against, row.ratio = models.TORCH, row.theirs / ours
    row.note = f"{ours / row.theirs:.2f} of PyTorch's"
    return [row]


def imports(rounds: int) -> list[Row]:
    """The row of `import minast`, without the start of Python itself."""
    spent = []
    for _ in range(rounds):
        code = "import time; t = time.perf_counter(); import minast; print(time.perf_counter() - t)"
        spent.append(float(python("-c", code)))
    return [Row("import minast", float(np.median(spent)), goal="0.3 s")]


SCRIPT = """
    import sys
    import numpy as np, scipy.io.wavfile, torch
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    folder, path = sys.argv[1:]
    rate, wave = scipy.io.wavfile.read(path)
    inputs = ASTFeatureExtractor.from_pretrained(folder)(wave / 32768, sampling_rate=rate, return_tensors="pt")
    model = ASTForAudioClassification.from_pretrained(folder, attn_implementation="sdpa").eval()
    with torch.no_grad():
        p = model(**inputs).logits[0].sigmoid().numpy()
    for k in np.argsort(-p)[:5]:
        print(f"{p[k]:6.1%}  {model.config.id2label[int(k)]}")
"""


def cold_start(rounds: int) -> list[Row]:
    """The row of a process that labels one 10 s clip: `predict`, beside a script with transformers."""
    import scipy.io.wavfile

    model, _, _ = models.setting("base", 1024, 1)
    name, goal = "predict, one 10 s clip, base, whole process", "4x"
    with tempfile.TemporaryDirectory() as folder:
        sound, checkpoint = os.path.join(folder, "noise.wav"), os.path.join(folder, "base.npz")
        wave = np.random.default_rng(0).standard_normal(160000) * 3000
        scipy.io.wavfile.write(sound, 16000, wave.astype(np.int16))
        labels = [f"LABEL_{k}" for k in range(model.config.classes)]
        save(checkpoint, model, labels, FeatureConfig(window="hann"), "bce")
        sides = [["-m", "minast.predict", checkpoint, sound]]
        answers = [python(*sides[0])]
        script = ["-c", textwrap.dedent(SCRIPT), folder, sound]
        try:
            save_pretrained(model, folder)
            answers.append(python(*script))
            sides.append(script)
        except Skip as reason:
            note = f"no comparison: {reason}"
        times = np.zeros((len(sides), rounds))
        for r in range(rounds):
            for i, side in enumerate(sides):
                began = time.perf_counter()
                python(*side)
                times[i, r] = time.perf_counter() - began
    row = Row(name, float(np.median(times[0])), goal=goal)
    if len(sides) == 1:
        row.note = note
        return [row]
    first = [answer.split("LABEL_")[1].split()[0] for answer in answers]
    if first[0] != first[1]:
        raise Skip(f"the two sides disagree: {first}")
    row.against, row.theirs = "a script with transformers", float(np.median(times[1]))
    row.ratio = float(np.median(times[1] / times[0]))
    return [row]
