"""Golden files: written by make.py, inputs in cases.py, compared in test_golden.py."""
