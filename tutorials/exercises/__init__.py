"""Checks of the exercises, one module a notebook: `from exercises import patches as check`."""
