"""Embeddings of archives: kept in an index, searched, and what a classifier of one's own is fitted to.

| module | what it does |
| --- | --- |
| `taken` | the encoder that embeddings are taken from: all blocks or the first ones, prefix tokens or the mean of all |
| `work` | a unit of an archive: the embeddings of some recordings (the kinds of workers are in `streaming`) |
| `index` | a folder of embeddings: written once, memory-mapped on reading |
| `nearest` | the segments most similar to a query |
| `logistic` | logistic regression with an L2 penalty, its gradient by hand |
| `labels` | a table of labels, brought onto the segments of an index |
| `probe` | who is held out, the strength of the penalty, how good it is, and the checkpoint that comes of it |
| `suggest` | the segments worth labelling next |

[streaming/README.md](../streaming/README.md) says how an index is made and what is in it.
"""
