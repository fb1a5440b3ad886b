"""Runs CUDA kernels on a CPU: `build` compiles a .cu file to a shared library, `run` launches a kernel of it."""
