"""Write logistic.npz: the coefficients that scikit-learn's LogisticRegression finds for the data in logistic_cases.py.

Run it in a scratch environment, from the repository's root; nothing else here needs what it installs:

    python -m venv /tmp/golden && . /tmp/golden/bin/activate
    pip install numpy scikit-learn==1.9.1
    python tests/golden/make_logistic.py

Coefficients are of standardised columns (StandardScaler). Several labels a row are a regression for each. This file
shares no code with minast.
"""

from pathlib import Path

import numpy as np
from logistic_cases import C, cases
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def golden(x, targets, c, single):
    z = StandardScaler().fit_transform(x)

    def fit(y):
        model = LogisticRegression(C=c, tol=1e-12, max_iter=10**6, solver="newton-cholesky").fit(z, y)
        return model.coef_, model.intercept_, model.predict_proba(z)

    if single:
        return fit(targets.argmax(axis=1))
    each = [fit(y) for y in targets.T]
    w, b = (np.concatenate([part[i] for part in each]) for i in range(2))
    return w, b, np.stack([p[:, 1] for _, _, p in each], axis=1)


if __name__ == "__main__":
    values = {}
    for name, (x, targets) in cases().items():
        for c in C:
            found = golden(x, targets, c, name.startswith("one"))
            values |= {f"{name}/{c}/{key}": v for key, v in zip(("w", "b", "p"), found, strict=True)}
    path = Path(__file__).parent / "logistic.npz"
    np.savez_compressed(path, **values)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {len(values)} arrays")
