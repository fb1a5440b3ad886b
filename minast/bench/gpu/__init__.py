"""Rows about a GPU: the whole model, backends, what they share."""
