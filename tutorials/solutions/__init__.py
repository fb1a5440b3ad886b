"""Solutions of the exercises, one module a notebook. Try first: the checks say what is wrong with an answer."""
