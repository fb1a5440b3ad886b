"""Prints the lowest version of each package that setup.py allows, for pip: `pip install $(python .ci/lowest.py test)`.

The arguments are the names of extras whose packages are wanted as well.
"""

import re
import sys
from pathlib import Path
from unittest.mock import patch


def described() -> dict:
    """What setup.py passes to setuptools."""
    path = Path(__file__).resolve().parents[1] / "setup.py"
    with patch("setuptools.setup") as setup:
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), {"__file__": str(path), "__name__": "__main__"})
    return setup.call_args.kwargs


def lowest(requirement: str) -> str:
    """numpy>=1.26 -> numpy==1.26"""
    name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:[,;].*)?", requirement.replace(" ", "")).groups()
    return f"{name}=={version}"


if __name__ == "__main__":
    about = described()
    wanted = [*about["install_requires"], *(r for extra in sys.argv[1:] for r in about["extras_require"][extra])]
    print(*map(lowest, wanted))
