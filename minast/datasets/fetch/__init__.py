"""Published data sets: downloaded, checked and unpacked, for `data get`."""
