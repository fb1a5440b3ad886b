"""What the clips themselves suggest: sample rate, input length, epochs and augmentation."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from .. import threads
from ..audio import rate_of
from ..datasets import Clip
from ..errors import Error
from ..features import hop_seconds
from ..text import counted

HIGHEST = 16000  # Hz; what AST was made for, and more is of little use for most classes
LOOKED_AT = 500  # files whose rate is read
STEPS = 2400  # optimizer steps that weights learn in which begin at random: 14 epochs of FSDD
FINE_STEPS = 160  # those of pretrained ones: 8 epochs of ESC-10
MANY_CLIPS = 20000  # from here on, few epochs and AST's wide masks


def rates(clips: Sequence[Clip]) -> Counter:
    """The sample rates of up to LOOKED_AT clips, spread over all; what cannot be read is left out.   -> {Hz: files}"""
    chosen = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, LOOKED_AT).astype(int))] if len(clips) else []

    def rate(clip):
        try:
            return rate_of(clip.path)
        except (Error, UnicodeError):  # reading the clip will say why
            return None

    with threads.ordered(rate, [clip for clip in chosen if clip.path is not None]) as found:
        return Counter(filter(None, found))


def fitting_rate(found: Counter, most: int = HIGHEST) -> int:
    """The highest rate that at least half of the files reach, at most `most`; `most` if there are none."""
    reached = [rate for rate in found if 2 * sum(n for r, n in found.items() if r >= rate) >= found.total()]
    return min(max(reached), most) if reached else most


def rate_words(found: Counter, rate: int, fitted: bool, asked: bool) -> list[str]:
    """Sentences on the rate that is used, and on files at other rates.

    fitted: whether it comes from the files; asked: whether the user gave it.
    """
    below, above = (sum(n for r, n in found.items() if (r < rate, r > rate)[i]) for i in (0, 1))
    common = ", ".join(f"{r} Hz ({counted(n, 'file')})" for r, n in found.most_common(4))
    said = []
    if found and fitted:
        own = "from the files' own: " if rate in found else "the highest without --rate; the files have "
        said.append(f"sample rate {rate} Hz, {own}{common}")
    if below:
        said.append(
            f"note: {below} of {found.total()} files are below {rate} Hz: they hold nothing above half their own rate, "
            "which a model may mistake for a property of the class"
        )
    if above and asked and 2 * above > found.total():
        said.append(f"note: most files have a higher rate than {rate} Hz ({common}): what is above is lost")
    return said


def fitting_frames(lengths: Sequence[int]) -> int:
    """The 95th percentile of clip lengths in frames, within 32 to 1024."""
    return int(np.clip(np.percentile(lengths, 95), 32, 1024))


def length_words(lengths: Iterable[int], frames: int, rate: int) -> list[str]:
    """A sentence on clips that are longer than the input; none if there are none.   lengths: of all clips, in frames"""
    lengths = np.asarray(lengths)
    longer = int((lengths > frames).sum())
    if not longer:
        return []
    step = hop_seconds(rate)
    verb, them = ("is", "it is") if longer == 1 else ("are", "they are")
    return [
        f"{longer} of {counted(len(lengths), 'clip')} {verb} longer than the input of {frames * step:.2f} s (the "
        f"longest has {lengths.max() * step:.1f} s): {them} cropped at random in training and scored in segments; "
        "--frames N makes the input longer"
    ]


def to_count(clips: int, frames: int, batch: int, pretrained: bool) -> dict:
    """Epochs and augmentation for a number of training clips and an input of so many frames.

    | training clips | weights from random | pretrained weights |
    | --- | --- | --- |
    | few | as many epochs as make STEPS steps, at most 100 | FINE_STEPS steps, at most 40 epochs |
    | MANY_CLIPS and more | 10 epochs | 8 epochs |

    Weights that begin at random see narrow masks, shifts and gain after their first epochs, FSDD's by the input's
    length; from MANY_CLIPS on, AST's masks. Pretrained ones have PRETRAINED's augmentation.
    """
    steps = max(1, clips // batch)
    if pretrained:
        return {"epochs": int(np.clip(-(-FINE_STEPS // steps), 8, 40)), "augment_from": 0}
    epochs = int(np.clip(-(-STEPS // steps), 10, 100))
    if clips >= MANY_CLIPS:
        return {"epochs": epochs, "freq_mask": 48, "time_mask": frames * 3 // 16, "augment_from": 0}
    masks = {"freq_mask": 24, "time_mask": frames * 3 // 16}
    return {"epochs": epochs, **masks, "roll": frames // 8, "gain": 0.8, "augment_from": 3}
