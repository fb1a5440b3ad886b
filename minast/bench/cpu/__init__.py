"""Rows that need no GPU.

The whole model against PyTorch (`models`), log-mel (`features`), processes (`process`), and what a block keeps for the
backward pass (`kept`).
"""
