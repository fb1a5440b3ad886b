"""Files that are damaged, lie or attack, by the thousand: `python -m tests.fuzz --cases 2000 --seed 0`.

__main__.py   the command: workers, time limits, the table, files of faults
worker.py     a process that makes cases and tries them, under limits and watched
guard.py      what a case may not do: start processes, open sockets, write elsewhere, take memory
reader.py     what is tried: good files, the ways to change them, how they are read
weights.py, others.py, readers.py   all readers
changes.py    changes of bytes, of texts and of command lines
archives.py   changes inside zips, .npy headers and JSON, with the checksums put right
pickles.py    changes inside the pickles of torch.save
"""
