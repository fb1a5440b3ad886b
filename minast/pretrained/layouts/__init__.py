"""Which arrays of a file each weight is made of."""
