"""The schematics, a function each, and the SVG that they are made of. `python tutorials/schematics.py` writes them."""
