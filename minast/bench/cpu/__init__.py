"""Rows about the CPU: the model against PyTorch, features, whole processes."""
