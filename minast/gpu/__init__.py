"""GPU support below the layers: kernel sources, planned memory, CUDA graphs, copies to the device."""
