"""transformers' pipeline for audio classification, as its users call it: file by file."""

from collections.abc import Callable

from ..libraries import errors_as_skips
from . import runtime


def labelled(folder: str) -> Callable[[str], dict[str, float]]:
    """A function: a sound file -> {label: probability}. folder: what `minast.exports.hugging_face` wrote.

    The file is read with soundfile, since the pipeline itself would start ffmpeg for each. Raises Skip without PyTorch
    or transformers.
    """
    runtime.with_transformers()
    import soundfile

    with errors_as_skips():
        from transformers import pipeline

        pipe = pipeline("audio-classification", model=folder, feature_extractor=folder, device="cpu")

    def run(path):
        wave, rate = soundfile.read(path, dtype="float32")
        found = pipe(
            {"raw": wave, "sampling_rate": rate}, top_k=pipe.model.config.num_labels, function_to_apply="sigmoid"
        )
        return {each["label"]: each["score"] for each in found}

    return run
