"""Kernel by kernel. Timed on a GPU: `memory_bound` with its `cases`, and `attention`.

Counted without one, the tables of kernels/README.md: `registers` and `sass` from compiled code, `launches` from shapes,
`precision` from the gradients of a small model.
"""
