"""Files: written whole or not at all, read with suspicion. CSV tables, .npz archives, schemas, the cache folder."""
