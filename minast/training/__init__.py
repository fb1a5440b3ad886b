"""A training run. In reading order:

fit               all of it, from the settings to the checkpoint: one run (single), or many for folds and seeds (many)
flags, recipes    what the user asks for; what data sets and published experiments start from
choice, fitted    which settings a run has: a recipe, fitted to the clips, changed by flags
start, resume     prepare a new run, or one that was stopped; inputs, building and estimate are its features and model
run               what both return: settings, data, learner, progress
loop, learner     the training loop, and the step that it repeats
run_folder        what is saved: last.npz, best.npz, history.csv, curves.png
finish, result    the final model's scores, what is quoted, and the report; summary is that of many runs

batches, feature_cache and prefetch feed the loop. clip_cache keeps what is computed of clips, an entry a file
(cache_entry); late computes it when a batch needs it, for millions of them. linear_probe, loss_scale, progress,
stopping and tensorboard are the loop's helpers.
"""
