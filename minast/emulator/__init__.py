"""Run CUDA kernels on a CPU: `build` makes a .cu file a shared library, `run` launches a kernel in it."""
