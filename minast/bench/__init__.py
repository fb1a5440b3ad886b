"""`python -m minast.bench`: speed and memory, against PyTorch where it is installed.

From the bottom up: `row`, `timing` and `checks` are what every row uses; `table`, `readme` and `stored` write and read
results; `pytorch/` is the other side of the comparisons. `gpu/`, `kernels/` and `cpu/` hold the rows, `catalogue` names
them, `runner` measures them, `outputs` writes the files. `growth/` measures curves: README.md beside this file.

A row function takes `rounds`, how many to time, and for a GPU also `backend`. It returns a list of `row.Row`, for a GPU
of `gpu.rows.DeviceRow`, or an iterator of them. It checks that both sides give the same result before it times them,
and raises `row.Skip` with the reason where it cannot run.
"""
