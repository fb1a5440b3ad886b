"""What only a whole process shows: its peak memory, the time of an import, the time from a cold start to an answer."""

import os
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path

import numpy as np

from ...checkpoint import Info, save
from ...config import FeatureConfig
from ...exports import onnx_file
from ..child import python
from ..libraries import load
from ..pytorch import model as theirs
from ..pytorch.twin import save_pretrained
from ..row import Row, Skip
from ..sides import Side, compared
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


ONNX_SCRIPT = """
    import json, sys
    import numpy as np, onnxruntime, scipy.io.wavfile

    path, sound = sys.argv[1:]
    session = onnxruntime.InferenceSession(path)
    rate, wave = scipy.io.wavfile.read(sound)
    p = session.run(["probabilities"], {"waveform": np.float32(wave[None] / 32768)})[0][0]
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    for k in np.argsort(-p)[:5]:
        print(f"{p[k]:6.1%}  {labels[k]}")
"""


def cold_start(rounds: int) -> list[Row]:
    """The rows of a process that labels one 10 s clip: `predict`, beside scripts with other libraries.

    ONNX Runtime runs the file that `minast export --waveform` writes, features included.
    """
    import scipy.io.wavfile

    model, _, _ = models.setting("base", 1024, 1)
    info = Info([f"LABEL_{k}" for k in range(model.config.classes)], FeatureConfig(window="hann", frames=1024), "bce")
    with tempfile.TemporaryDirectory() as folder:
        sound, checkpoint, exported = (os.path.join(folder, name) for name in ("noise.wav", "base.npz", "base.onnx"))
        wave = np.random.default_rng(0).standard_normal(160000) * 3000
        scipy.io.wavfile.write(sound, 16000, wave.astype(np.int16))
        save(checkpoint, model, info.labels, info.features, info.loss)
        ours = partial(python, "-m", "minast.predict", checkpoint, sound)

        def with_transformers():
            save_pretrained(model, folder)
            return partial(python, "-c", textwrap.dedent(SCRIPT), folder, sound)

        def with_onnx_runtime():
            load("onnx"), load("onnxruntime")
            Path(exported).write_bytes(onnx_file.checked_bytes(onnx_file.build(model, info, waveform=True)))
            return partial(python, "-c", textwrap.dedent(ONNX_SCRIPT), exported, sound)

        def side(name, goal, script):
            def make():
                call = script()
                return call, best_label(call())

            return Side(name, make, goal)

        sides = [
            side("a script with transformers", "4x", with_transformers),
            side("a script with ONNX Runtime", "1.5x", with_onnx_runtime),
        ]
        name = "predict, one 10 s clip, base, whole process"
        return list(compared(name, ours, best_label(ours()), sides, rounds))


def best_label(answer: str) -> np.ndarray:
    """The number of the first label that a process has printed."""
    return np.array(float(answer.split("LABEL_")[1].split()[0]))
