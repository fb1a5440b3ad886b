"""Recordings in, what is heard in them out, in memory that does not grow with their length or their number.

| module | what it does |
| --- | --- |
| `inputs` | which recordings: files, folders, patterns, a list on standard input, addresses (`remote`) |
| `sound` | one recording: decoded, resampled and turned into segments in blocks |
| `core` | many recordings: their segments through the model, batch by batch, with times |
| `events` | scores of segments -> events with start, end, label and score |
| `work` | a unit of an archive: some recordings, done one after another, whoever does it |
| `session` | what the commands have in common: the flags, the journal, who works, what was skipped |
| `journal` | what is done so far: a file that is only appended to, and survives SIGKILL |
| `pools`, `cluster` | who does the units: this process, several, or a dask cluster |
| `archive` | all units of an archive into the journal; a unit whose worker dies is tried again |
| `tables`, `cuts` | the events as csv, jsonl, Audacity's or Raven's; cut out of their recordings |

[README.md](README.md) says how scores become events, and how an archive is scanned on a cluster.
"""
