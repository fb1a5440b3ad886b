"""`python -m minast.bench`: speed and memory, against PyTorch, ONNX Runtime and OpenVINO.

From the bottom up: `row`, `timing` and `checks` are what every row uses; `machine` says which kernels BLAS runs and
what holds it back; `table`, `readme` and `stored` write and read results. `pytorch/` and `runtimes` are the other sides
of the comparisons, which `libraries` loads and `sides` times beside ours. `gpu/`, `kernels/` and `cpu/` hold the rows,
`catalogue` names them, `runner` measures them, `outputs` writes the files. `growth/` measures how cost grows.

A row function takes `rounds`, how many to time, and for a GPU also `backend`. It returns a list of `row.Row`, for a GPU
of `gpu.rows.DeviceRow`, or an iterator of them. It checks that all sides give the same result before it times them,
and raises `row.Skip` with the reason where it cannot run. A library that is missing or fails costs its own row.
"""
