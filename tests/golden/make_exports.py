"""Writes tests/golden/exports.npz: what transformers makes of wav files with the folders that minast exports.

  python tests/golden/make_exports.py        needs torch, transformers, soundfile and minast; the tests need no torch

Answers are probabilities, as problem_type asks for them; with each, the digest of the folder that gave it, so that a
folder which is written differently later does not pass with the answers of another.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
import export_cases as cases  # noqa: E402  a script finds its neighbour

from minast.exports import hugging_face  # noqa: E402
from minast.streaming.work import digest_of  # noqa: E402


def answer(folder, wav):
    """Probabilities (K,) of a wav file, by transformers alone."""
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    assert type(model).__name__ == "ASTForAudioClassification" and type(extractor).__name__ == "ASTFeatureExtractor"
    assert [model.config.id2label[k] for k in range(len(cases.LABELS))] == cases.LABELS
    samples, rate = soundfile.read(wav, dtype="float32")
    x = extractor(samples, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        logits = model(**x).logits[0].double()
    several = model.config.problem_type == "multi_label_classification"
    return (torch.sigmoid(logits) if several else torch.softmax(logits, -1)).numpy()


def main():
    answers = {}
    with tempfile.TemporaryDirectory() as place:
        for name in cases.CASES:
            folder = Path(place) / name
            hugging_face.write(folder, *cases.model_of(name))
            for file in sorted(folder.iterdir()):
                answers[f"{name}/{file.name}"] = np.array(digest_of(file))
            for sound in cases.SECONDS:
                wav = Path(place) / "sound.wav"
                soundfile.write(wav, cases.wave(sound), 16000, subtype="PCM_16")
                answers[f"{name}/{sound}"] = answer(folder, wav)
                print(name, sound, np.round(answers[f"{name}/{sound}"], 4))
    np.savez_compressed(HERE / "exports.npz", **answers)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
