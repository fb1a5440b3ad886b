"""Which experiments there are, and which of them are compared."""

from .tables import Experiment

ESC10 = "environmental sounds, ESC-10, five official folds"
DIGITS = "spoken digits, FSDD, official split"
SPEAKERS = "spoken digits, FSDD, each of six speakers left out once"
VIT = "ViT-S/16 trained on images alone, its lowest 8 blocks"
NANO = "random, nano"

ESC10_VIT = Experiment("esc10-vit", ESC10, VIT)
ESC10_RANDOM = Experiment("esc10-random", "environmental sounds, ESC-10, folds 1 and 2", "random, as large")
DIGITS_NANO, DIGITS_VIT = Experiment("fsdd-nano", DIGITS, NANO), Experiment("fsdd-vit", DIGITS, VIT)
SPEAKERS_NANO = Experiment("fsdd-speakers-nano", SPEAKERS, NANO)
SPEAKERS_VIT = Experiment("fsdd-speakers-vit", SPEAKERS, VIT)
COFFEE = Experiment("coffee-vit", "spoken drink orders, several labels a clip", VIT)

RESULTS = [ESC10_VIT, ESC10_RANDOM, DIGITS_VIT, DIGITS_NANO, SPEAKERS_VIT, SPEAKERS_NANO, COFFEE]
OFF_FRONT = [COFFEE]  # those that the front page leaves out

BASE = Experiment("ablations-base", ESC10, "image weights, filters summed, positions cut, patches side by side")
VARIANTS = {
    "random": "random weights",
    "rgb-mean": "filters of the three colours averaged",
    "positions-interpolate": "positions interpolated",
    "positions-fresh": "positions drawn anew",
    "overlap-2": "patches overlap by 2",
    "overlap-4": "patches overlap by 4",
    "overlap-6": "patches overlap by 6",
}
DIFFERENCES = {  # table: what is compared with what
    "random": (Experiment("esc10-vit", ESC10, "image weights", "fold[12]-seed0"), [ESC10_RANDOM]),
    "ablations": (BASE, [Experiment(f"ablations-{name}", ESC10, words) for name, words in VARIANTS.items()]),
}
