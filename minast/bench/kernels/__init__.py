"""Kernels: timing, registers, instructions, launches, precision."""
