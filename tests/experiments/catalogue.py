"""Which experiments there are, and which of them are compared."""

from .tables import Experiment

ESC10 = "environmental sounds, ESC-10, five official folds"
VIT = "ViT-S/16 trained on images alone, its lowest 8 blocks"

ESC10_VIT = Experiment("esc10-vit", ESC10, VIT)

RESULTS = [ESC10_VIT]
FRONT = {"esc10-vit"}  # those of the front page
DIFFERENCES: dict[str, tuple[Experiment, list[Experiment]]] = {}  # table: what is compared with what
