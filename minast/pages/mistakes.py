"""The worst mistakes of a run, to look at and to listen to: spectrogram, sound, and what the model heard where."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..checkpoint import Info
from ..datasets import Clip
from ..errors import Error
from ..explain_plot import relevance_over_time
from ..features import hop_seconds
from ..model import AST
from .builder import folded, paragraph
from .html import Html, number, percent, tag
from .sound import MOST_SECONDS, frames_of, player, relevance_uri, sound_uri, spectrogram_uri

SURE = 0.8  # probability from which on a wrong prediction casts doubt on the label
BUDGET = 8_000_000  # characters of all pictures and sounds of a page


def players(
    model: AST, info: Info, record: dict, tested: Sequence[np.ndarray], clips: Sequence[Clip]
) -> dict[int, Html]:
    """A player for each clip in `record["mistakes"]`, as far as BUDGET goes.   tested, clips: as for `run_record`

    -> {place of the clip: player}. A clip whose sound cannot be read has a picture alone.
    """
    from tqdm import tqdm

    found, used = {}, 0
    for entry in tqdm(record["mistakes"], desc="pictures", unit="clip", disable=None, leave=False, delay=1):
        i, label = entry["clip"], info.labels[entry["about"]]
        missed = record["model"]["loss"] == "bce" and entry["about"] in clips[i].labels
        said = f"what spoke for “{label}”" if missed else f"where the model heard “{label}”"
        made = one(model, info, tested[i], clips[i], entry["about"], said)
        if used + len(made) > BUDGET:
            break
        found[i], used = made, used + len(made)
    return found


def one(model: AST, info: Info, mel: np.ndarray, clip: Clip, about: int, said: str) -> Html:
    """The player of one clip, with the relevance of the class in question.   said: what that is, in words"""
    rate, whole = info.features.rate, len(mel) * hop_seconds(info.features.rate)
    mel = mel[: frames_of(MOST_SECONDS, rate)]
    seconds = len(mel) * hop_seconds(rate)
    try:
        audio, missing = sound_uri(clip.wave(rate), rate), ""
    except Error:
        audio, missing = "", "The sound cannot be read any more. "
    cut = f"The first {seconds:.0f} of {whole:.0f} s. " if whole > seconds + 0.1 else ""
    return player(
        audio,
        seconds,
        spectrogram_uri(mel),
        f"Spectrogram of {clip.name}, {seconds:.1f} s",
        relevance_uri(relevance_over_time(model, info, mel, about)),
        said,
        rate,
        mel.shape[1],
        caption=(missing + cut).strip(),
    )


def cards(record: dict, shown: dict[int, Html]) -> Html:
    """A card per mistake: what it is, what was said, the player, the nearest training clips."""
    return tag("ol", *(_card(record, entry, n, shown) for n, entry in enumerate(record["mistakes"], 1)), class_="cards")


def _card(record, entry, n, shown):
    labels, clip = record["data"]["labels"], record["clips"][entry["clip"]]
    sigmoid = record["model"]["loss"] == "bce"
    head = _both(labels, entry, clip, record) if sigmoid else _single(labels, clip)
    return tag(
        "li",
        tag("h3", f"{n}. ", head),
        tag("p", clip["name"], f" · loss {number(clip['loss'], 2)}", class_="file"),
        shown.get(entry["clip"]),
        _alike(labels, entry),
        _doubt(record, entry),
        folded("What the model gave, and the nearest training clips", _given(labels, clip), _nearest(labels, entry)),
    )


def _single(labels, clip):
    """ "dog, heard as rain (97 %)" """
    k, p = clip["top"][0]
    true = _names(labels, clip["labels"])
    if k in clip["labels"]:
        return tag("span", tag("b", true), f", right with {percent(p, 0)}")
    return tag("span", tag("b", true), ", heard as ", tag("b", labels[k], class_="miss"), f" ({percent(p, 0)})")


def _both(labels, entry, clip, record):
    """ "missed: large (2 %)", "not there: large (98 %)" """
    k = entry["about"]
    p = dict(map(tuple, clip["top"])).get(k)
    if p is None and record["scores"]:
        p = record["scores"][entry["clip"]][k]
    what = "not heard: " if k in clip["labels"] else "heard, not labelled: "
    return tag("span", what, tag("b", labels[k], class_="miss"), f" ({percent(p, 0)})" if p is not None else "")


def _alike(labels, entry):
    """The labels of the nearest training clips, the most frequent first."""
    counts = Counter(k for each in entry["nearest"] for k in each["labels"]).most_common(6)
    if not counts:
        return None
    words = [(tag("b", labels[k]), f" ×{n}" if n > 1 else "", ", ") for k, n in counts]
    return tag("p", "Most alike in training: ", *[part for word in words for part in word][:-1], class_="alike")


def _doubt(record, entry):
    """A sentence if the model is sure and the nearest training clips contradict the label as well."""
    near, own = entry["nearest"], set(record["clips"][entry["clip"]]["labels"])
    sure = record["clips"][entry["clip"]]["top"][0][1] >= SURE
    if len(near) < 3 or not sure or record["model"]["loss"] == "bce":
        return None
    about = sum(entry["about"] in each["labels"] for each in near)
    if about < len(near) - 1 or any(own & set(each["labels"]) for each in near):
        return None
    what = record["data"]["labels"][entry["about"]]
    return tag(
        "p", f"{about} of the {len(near)} nearest training clips are “{what}”: is the label right?", class_="doubt"
    )


def _given(labels, clip):
    rows = [
        tag("li", tag("span", labels[k]), tag("b", percent(p)), style=f"--v:{min(max(p, 0), 1):.4f}")
        for k, p in clip["top"]
    ]
    label = f"Its labels: {_names(labels, clip['labels'])}." if clip["labels"] else "It has no label."
    return paragraph(label) + tag("ul", *rows, class_="given")


def _nearest(labels, entry):
    if not entry["nearest"]:
        return None
    rows = [
        tag("li", tag("b", _names(labels, each["labels"])), " ", each["name"], tag("small", number(each["cosine"])))
        for each in entry["nearest"]
    ]
    return paragraph("Nearest training clips, by the cosine of embeddings:") + tag("ol", *rows, class_="near")


def _names(labels, numbers):
    return ", ".join(labels[k] for k in numbers) or "no label"
