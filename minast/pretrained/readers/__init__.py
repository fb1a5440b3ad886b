"""File formats: arrays by name, read one at a time."""
