"""What a GPU needs under the layers: kernel sources, planned memory, CUDA graphs, copies to the device."""
