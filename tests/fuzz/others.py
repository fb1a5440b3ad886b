"""Readers of all else: a training run's state, labels, tables, folders, sounds, command lines, measurements."""

import contextlib
import importlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np

import minast
from minast import pretrained, threads

from . import archives, changes
from .reader import Reader, digest, sounds, write


def training_run(work):
    """A run that was trained for two epochs; its data stay in the folder `work`."""
    from minast import train

    data, out = os.path.join(work, "sounds"), os.path.join(work, "run")
    write(data, sounds(count=6))
    flags = ["--depth", "1", "--epochs", "2", "--batch", "5", "--rate", "8000", "--frames", "32", "--mel-bins", "16"]
    flags += ["--no-cache", "--threads", "1", "--backend", "numpy"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), threads.fixed():
        assert train.main([data, "--out", out, *flags]) == 0

    def read(folder):
        return resumed(folder, data)

    last = Path(out, "last.npz").read_bytes()
    plain_and_inside = [(changes.plain, False), *[(archives.zip_of_arrays, True)] * 4]
    return {"resume": Reader({"last.npz": last}, {"last.npz": plain_and_inside}, read)}


def resumed(folder, data):
    """What --resume has before its first step, and what it needs from its state."""
    from minast import optim
    from minast.training import flags
    from minast.training.resume import resumed_run
    from minast.training.run import best_epoch

    with threads.fixed():
        run = resumed_run(flags.parser().parse_args([data, "--resume", folder]))
        step = min(run.progress.step, run.steps - 1)
        run.batch(step)
        rate = optim.schedule(run.config, step, run.steps_per_epoch)
        if run.info.history:
            best_epoch(run.info.history, run.measure)
        learner, adam = run.learner, run.learner.optimizer
        state = (adam.t, learner.scale.state(), run.settings, run.progress, run.info, rate)
        return digest(learner.model.w.flat, adam.m, adam.v, *state)


def read_labels(folder):
    name = next(name for name in os.listdir(folder) if name.startswith("labels"))
    return digest(pretrained.read_labels(os.path.join(folder, name)))


def read_table(folder):
    from minast.datasets import open_dataset

    dataset = open_dataset(os.path.join(folder, "clips.csv"), 0, None)
    waves = [clip.wave(8000) for clip in dataset.clips[:3]]
    return digest(dataset.labels, [(clip.name, clip.labels, clip.split) for clip in dataset.clips], *waves)


def read_folder(folder):
    from minast.datasets import open_dataset

    dataset = open_dataset(folder, 0, None)
    return digest(dataset.labels, [clip.labels for clip in dataset.clips])


NAMES = ("train", "test", "__MACOSX", ".hidden", "\u00e9", "e\u0301", "a\nb", "x" * 200, "\x1b[31m", " ", "low ", "LOW")


def strange_folder(rng, data):
    """A data folder as JSON: {name: index of a sound}; names of classes and files are changed."""
    names = json.loads(data)
    for _ in range(int(rng.integers(1, 4))):
        old = changes.pick(rng, list(names))
        top, _, rest = old.partition("/")
        new = changes.pick(rng, NAMES)
        places = f"{new}/{rest}", f"{top}/{new}.wav", f"{new}/{old}", f"{top}/{new}", f"{new}.wav", f"{top}/{rest}.m4a"
        names[changes.pick(rng, places)] = names.pop(old)
    return json.dumps(names).encode()


def read_strange_folder(folder):
    names = json.loads(Path(folder, "names.json").read_text())
    inside, known = os.path.join(folder, "data"), list(sounds().values())
    for name, i in names.items():
        with contextlib.suppress(OSError):  # a file where a folder should be
            write(inside, {name: known[i]})
    return read_folder(inside)


def read_sound(folder):
    (name,) = os.listdir(folder)
    wave = minast.load_audio(os.path.join(folder, name), rate=8000)
    mel = minast.log_mel(wave, rate=8000, mel_bins=16)
    assert np.isfinite(mel).all(), "the log-mel is not finite"
    return digest(wave)


def read_measured(folder):
    from minast.bench import stored

    rows, about = stored.read([os.path.join(folder, "gpu.json")])
    return digest(rows, about)


def measured():
    """What `python -m minast.bench --json` keeps of a GPU."""
    from minast.bench import table
    from minast.bench.gpu.rows import facts
    from tests.pretended import ladder_rows

    with tempfile.TemporaryDirectory() as folder:
        path, rows = Path(folder, "gpu.json"), ladder_rows()
        table.write_json(path, rows, table.conditions(2) | facts(rows))
        return path.read_bytes()


def read_flags(folder):
    from minast.training import flags
    from minast.training.choice import recipe

    verb, *words = json.loads(Path(folder, "argv.json").read_text())
    parser = flags.parser() if verb == "train" else importlib.import_module(f"minast.{verb}").parser()
    options = parser.parse_args(words)
    if verb == "train":
        config, rest = recipe("own", False, vars(options))
        given = {
            k: v
            for k in ("depth", "fstride", "tstride", "frames", "mel_bins")
            if (v := getattr(options, k)) is not None
        }
        minast.ModelConfig.preset(rest["preset"], classes=3, **given)
        minast.optim.schedule(config, 10**5, 7)
    return digest(sorted(vars(options).items(), key=str))


WORDS = (
    "", "0", "-1", "1", "3", "0.5", "1e308", "1e-320", "nan", "inf", "-inf", "1" * 5000, "10000000000000000000000",
    "1e400", "1_0", "\u0661", "é", "\x1b[31m", "a.npz", "12x101", "0x0", "1x", "x", "9" * 400 + "x1", "--", "-", "ce",
    "builtin", "esc50:",
)  # fmt: skip


def command_line(rng, data):
    """A command with random flags and values."""
    verb, flags = changes.pick(rng, json.loads(data))
    words = [verb]
    for _ in range(int(rng.integers(1, 5))):
        if rng.integers(4):
            words.append(changes.pick(rng, flags))
            if not rng.integers(8):
                words[-1] += "=" + changes.pick(rng, WORDS)
        words += [changes.pick(rng, WORDS) for _ in range(int(rng.integers(0, 4)))]
    return json.dumps(words).encode()


def known_flags():
    """[[verb, [its flags]], ...]"""
    from minast.training import flags

    out = []
    for verb in ("train", "predict", "evaluate", "embed", "convert", "stats"):
        module = importlib.import_module(f"minast.{verb}")
        if verb != "train" and not hasattr(module, "parser"):
            continue
        parser = flags.parser() if verb == "train" else module.parser()
        names = [name for action in parser._actions for name in action.option_strings]
        out.append([verb, [name for name in names if name not in ("-h", "--help", "--threads")]])
    return out


def others():
    """Readers of texts, folders, sounds and command lines."""
    import soundfile

    clips = sounds()
    table = "file,labels\n" + "".join(f"{name},{name.split('/')[0]}\n" for name in clips)
    csv_labels = "index,mid,display_name\n" + "".join(f'{i},/m/{i:04d},"Class, number {i}"\n' for i in range(5))
    texts = [(changes.text, True), (changes.plain, True)]
    noise, recordings = 0.1 * np.random.default_rng(0).standard_normal((3 * 48000, 2)), {}
    for ending, subtype in (("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "ULAW"), ("aiff", "PCM_16"), ("au", "PCM_16"),
                            ("w64", "PCM_16"), ("rf64", "PCM_24"), ("caf", "PCM_16"), ("flac", "PCM_16"),
                            ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III")):  # fmt: skip
        raw, rate = io.BytesIO(), 48000 if subtype == "OPUS" else 16000
        wave = noise[: 3 * rate if ending in ("flac", "ogg") else rate // 4]  # frames and pages before the damage
        soundfile.write(raw, wave, rate, subtype, format="OGG" if ending == "ogg" else ending.upper())
        header = [(changes.wav_header, True)] * 2 if ending == "wav" else []
        name = f"{ending} {subtype}".lower()
        recordings[name] = Reader(
            {f"x.{ending}": raw.getvalue()}, {f"x.{ending}": [(changes.plain, True), *header]}, read_sound, "audio"
        )
    return {
        "labels txt": Reader(
            {"labels.txt": b"rain\ndog, barking\nSir\xc3\xa8ne\n"}, {"labels.txt": texts}, read_labels
        ),
        "labels csv": Reader({"labels.csv": csv_labels.encode()}, {"labels.csv": texts}, read_labels),
        "table": Reader(clips | {"clips.csv": table.encode()}, {"clips.csv": texts}, read_table, "data"),
        "folder": Reader(
            {"names.json": json.dumps({n: i for i, n in enumerate(clips)}).encode()},
            {"names.json": [(strange_folder, True)]},
            read_strange_folder,
            "data",
            damage=False,
        ),
        "flags": Reader(
            {"argv.json": json.dumps(known_flags()).encode()},
            {"argv.json": [(command_line, True)]},
            read_flags,
            "flags",
            False,
        ),
        "bench json": Reader(
            {"gpu.json": measured()}, {"gpu.json": [(archives.json_bytes, True)]}, read_measured, "bench"
        ),
        **recordings,
    }
