"""A training run: its start, its loop, its folder, and what feeds it."""
