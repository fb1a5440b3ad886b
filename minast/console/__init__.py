"""How a command meets its user: arguments with bounds, messages, signals. `minast/cli.py` puts them together."""
