"""`python -m minast.bench growth`: time and peak memory as clips, batches, models, threads and data sets grow.

From the bottom up: `counted` says what a pass has to do and keep, `plan` which points are measured, `jobs` and
`data_jobs` what each of them runs, `worker` gives it a process of its own. `stored` keeps the numbers, `rounds`
measures them, `slopes` compares them with what was expected, `page` and `picture` show both, `command` is the command.
"""
