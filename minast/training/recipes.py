"""Recipes as data: the values that a run starts from, by data set or by name (`--recipe`).

A recipe holds fields of TrainConfig, and of REST: the model's preset and strides, and how sound becomes features. What
it does not hold is as in TrainConfig, ModelConfig and FeatureConfig, or fits the data (`fitted`). `choice` applies it.
"""

REST = ("preset", "depth", "fstride", "tstride", "prefix_tokens", "random_head")
REST += ("rate", "frames", "mel_bins", "window", "mean", "std")

# By the `kind` of a data set; "own" is for all others. Where epochs are missing they and the augmentation are fitted to
# the number of clips, as is a missing rate or length to the files.
RECIPES = {
    "builtin": {"preset": "nano", "frames": 98, "rate": 16000, "epochs": 3, "lr": 1e-3},
    "fsdd": {"preset": "nano", "frames": 64, "rate": 8000, "epochs": 14}
    | {"augment_from": 3, "freq_mask": 24, "time_mask": 12, "roll": 8, "gain": 0.8},
    "esc": {"preset": "tiny", "frames": 500, "rate": 16000, "epochs": 25}
    | {"freq_mask": 24, "time_mask": 96, "roll": 250},
    "urbansound8k": {"preset": "tiny", "frames": 400, "rate": 16000},
    "speech-commands": {"preset": "tiny", "frames": 98, "rate": 16000},
    "fsd50k": {"preset": "tiny", "frames": 1000, "rate": 16000},
    "audioset": {"preset": "tiny", "frames": 998, "rate": 16000, "mixup": 0.5},
    "own": {"preset": "nano"},
}
ADAM = {"betas": (0.95, 0.999), "weight_decay": 5e-7}  # AST's
# Pretrained weights get small learning rates, smallest in the lowest blocks. Measured on ESC-10, fold 1, from a DINOv2
# ViT-S/16: 90.0 % after the last epoch with these values, 86.2 % with a learning rate of 3e-5 for all blocks; with
# 1e-4 for all blocks, 36 % after the first epoch.
PRETRAINED = {"epochs": 8, "lr": 2e-4, "layer_decay": 0.7, "weight_decay": 0.0, "warmup": 20}
PRETRAINED |= {"mixup": 0.5, "freq_mask": 0, "time_mask": 0}

# -- by name: the whole of a run, whatever the data are ------------------------------------------------------------

# What AST's four recipes share. Source: the paper, section 3.1, and the official code: egs/*/run*.sh, run.py,
# traintest.py, dataloader.py. There the weight decay is Adam's own, added to every gradient, nothing is clipped, all
# weights learn at one rate, and the head begins at random.
AST = {"preset": "base", "prefix_tokens": 2, "fstride": 10, "tstride": 10, "random_head": True}
AST |= {"rate": 16000, "mel_bins": 128, "window": "hann"}
AST |= {"optimizer": "adam", **ADAM, "layer_decay": 1.0, "head_lr": 1.0, "max_grad_norm": 0.0, "schedule": "milestones"}
AST |= {"warmup": 0, "warmup_steps_of": 50, "augment_from": 0, "mixup_of": "waveform", "gain": 0.0, "background": 0.0}
AST |= {"sampler": "shuffle", "class_weights": False, "label_smoothing": 0.0, "average_from": 0, "patchout": 0.0}
AST |= {"freeze": 0, "patience": 0}
AUDIOSET = {**AST, "frames": 1024, "mean": -4.2677393, "std": 4.5689974, "batch": 12, "loss": "bce", "warmup": 1000}
AUDIOSET |= {"freq_mask": 48, "time_mask": 192, "mixup": 0.5, "noise": False, "roll": 0}

NAMED = {
    "audioset-balanced": {**AUDIOSET, "lr": 5e-5, "epochs": 25, "milestones": (10, 5, 0.5), "average_from": 6},
    "audioset-full": {**AUDIOSET, "lr": 1e-5, "epochs": 5, "milestones": (2, 1, 0.5), "average_from": 1}
    | {"sampler": "balanced"},
    "esc50": {**AST, "frames": 512, "mean": -6.6268077, "std": 5.358466, "batch": 48, "loss": "ce"}
    | {"lr": 1e-4, "epochs": 25, "milestones": (5, 1, 0.85), "freq_mask": 24, "time_mask": 96}
    | {"mixup": 0.0, "noise": False, "roll": 0},
    "speechcommands": {**AST, "frames": 128, "mean": -6.845978, "std": 5.5654526, "batch": 128, "loss": "bce"}
    | {"lr": 2.5e-4, "epochs": 30, "milestones": (5, 1, 0.85), "freq_mask": 48, "time_mask": 48}
    | {"mixup": 0.6, "noise": True, "roll": 10},
    # A few hundred clips, and the weights of an image model with 12 blocks, of which the upper ones know objects, not
    # shapes: the lowest 8 are kept. Found on ESC-10's folds 2 to 4 for training, 5 for validation: 92.5 % with 8
    # blocks and with 6, 88.8 % with all 12 (80 clips, one seed); what the lowest ones learn made no difference.
    "small-data": {**PRETRAINED, "fstride": 16, "tstride": 16, "depth": 8, "freeze": 2, "patchout": 0.5, "roll": 250}
    | {"epochs": 12, "average_from": 8},
}
FROM_AUDIO = {"esc50": {"lr": 1e-5}}  # where the pretrained weights come from sound (AST-P), not from images (AST-S)
TITLES = {
    "audioset-balanced": "AST on AudioSet's balanced set, 22 thousand clips",
    "audioset-full": "AST on all of AudioSet, 2 million clips",
    "esc50": "AST on ESC-50, one of five folds",
    "speechcommands": "AST on Speech Commands V2, 35 words",
    "small-data": "a few hundred clips, from a pretrained image model",
}
