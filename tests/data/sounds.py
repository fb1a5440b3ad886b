"""Folders of short sounds, made from a list of paths."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import soundfile

_number = itertools.count()


def sound(path, seconds=0.1, rate=16000):
    """A noise that no other file holds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(next(_number)).uniform(-0.1, 0.1, int(rate * seconds))
    soundfile.write(path, wave, rate, format={".aif": "AIFF"}.get(path.suffix.lower()))
    return path


def make(folder, names):
    """Files by name: what soundfile writes is a sound, "a -> b" a symbolic link, "a = b" a copy, "a: text" a text."""
    for name in names:
        if " -> " in name:
            link, target = name.split(" -> ")
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).symlink_to(folder / target)
        elif " = " in name:
            copy, original = name.split(" = ")
            (folder / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / original, folder / copy)
        elif ": " in name:
            name, text = name.split(": ", 1)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.encode())
        elif Path(name).suffix in (".wav", ".flac", ".ogg", ".aif") and Path(name).name.isprintable():
            sound(folder / name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"\0\5" * 50)
    return folder


def several(pattern, numbers=(0, 1, 2)):
    """ "dog/*.wav" -> ["dog/0.wav", "dog/1.wav", "dog/2.wav"]"""
    return [pattern.replace("*", str(i)) for i in numbers]
