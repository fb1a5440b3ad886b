"""The whole model on a GPU, and what every row on a GPU needs.

`device` runs and times, `rows` and `tables` are what comes out, `ladder` is the picture of the attention kernels. Rows:
`backends`; `step`, `latency` and `memory`, whose two sides are in `whole`.
"""
