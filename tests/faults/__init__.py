"""Faults: killed processes, full disks, flipped bits, two runs at once. Each ends as if there had been none, or in a
sentence.

`python -m tests.faults --kills 50` runs the long version.
"""
