"""A training run. In reading order:

fit               all of it, from the settings to the best checkpoint
flags, recipes    what the user asks for, and what the data suggest
start, resume     prepare a new run, or one that was stopped
run               what both return: settings, data, learner, progress
loop, learner     the training loop, and the step that it repeats
run_folder        what is saved: last.npz, best.npz, history.csv, curves.png
finish            the results of the best checkpoint

batches, feature_cache and prefetch feed the loop. clip_cache keeps what is computed of clips, an entry a file
(cache_entry); late computes it when a batch needs it, for millions of them. linear_probe, loss_scale, progress and
stopping are the loop's helpers.
"""
