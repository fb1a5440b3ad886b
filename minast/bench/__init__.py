"""The rows of `python -m minast.bench`: each module has `ROWS`, a dict from a short name to a function.

A row function takes `rounds` and returns a list of `table.Row`, or raises `table.Skip` with the reason. It checks that
both sides give the same result before it times them. Those about a GPU (kernels, attention, backends, whole) also take
`backend`, and return `device_rows.DeviceRow`.
"""
