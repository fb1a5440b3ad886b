"""Write metrics.npz: what scikit-learn says about the scores in metric_cases.py.

Run it in a scratch environment, from the repository's root; nothing else here needs what it installs:

    python -m venv /tmp/golden && . /tmp/golden/bin/activate
    pip install numpy scikit-learn==1.9.1
    python tests/golden/make_metrics.py

Where minast has no value, because a class has no positive clip (for AUC: or no negative one), scikit-learn returns 0, 1
or NaN with a warning; NaN is stored. Means are scikit-learn's over the classes that have a value. This file shares no
code with minast.
"""

import warnings
from pathlib import Path

import numpy as np
from metric_cases import cases
from sklearn import metrics
from sklearn.calibration import _sigmoid_calibration

warnings.simplefilter("ignore")
PLATT = ("several 300x20", "several 17x5")  # whose scores, taken for probabilities, are calibrated


def golden(name, scores, targets):
    there, full = targets.any(axis=0), targets.all(axis=0)
    ap, auc = np.full((2, len(there)), np.nan)
    for k in np.flatnonzero(there):
        ap[k] = metrics.average_precision_score(targets[:, k], scores[:, k])
        if not full[k]:
            auc[k] = metrics.roc_auc_score(targets[:, k], scores[:, k])
    found = {"AP": ap, "AUC": auc}
    ranked = there & ~full
    if there.any():
        found["mAP"] = metrics.average_precision_score(targets[:, there], scores[:, there], average="macro")
    if ranked.any():
        found["mean AUC"] = metrics.roc_auc_score(targets[:, ranked], scores[:, ranked], average="macro")
    if name.startswith("one"):
        truth, guess = targets.argmax(axis=1), scores.argmax(axis=1)
        labels = {"labels": np.arange(len(there)), "zero_division": 0}
        found["accuracy"] = metrics.accuracy_score(truth, guess)
        found["balanced accuracy"] = metrics.balanced_accuracy_score(truth, guess)
        found["confusion"] = metrics.confusion_matrix(truth, guess, labels=labels["labels"])
    else:
        truth, guess = targets.astype(int), (scores >= 0.5).astype(int)
        labels = {"zero_division": 0, "labels": np.arange(len(there))}
        if len(there) == 1:  # a matrix of one column is binary for scikit-learn
            truth, guess, labels["labels"] = truth[:, 0], guess[:, 0], [1]
    if there.any():
        for average in (None, "macro", "micro"):
            asked = labels | ({"labels": np.flatnonzero(there)} if average == "macro" and len(there) > 1 else {})
            found[f"rates {average}"] = np.array(
                metrics.precision_recall_fscore_support(truth, guess, average=average, **asked)[:3], np.float64
            )
        found["rates None"][:, ~there] = np.nan
    if name in PLATT:
        a, b = _sigmoid_calibration(np.log(scores / (1 - scores)).ravel(), targets.ravel())
        found["Platt"] = np.array([-a, -b])  # scikit-learn's sigmoid is 1 / (1 + exp(a z + b))
    return found


if __name__ == "__main__":
    values = {
        f"{name}/{key}": np.asarray(value)
        for name, (scores, targets) in cases().items()
        for key, value in golden(name, scores, targets).items()
    }
    path = Path(__file__).parent / "metrics.npz"
    np.savez_compressed(path, **values)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {len(values)} arrays")
