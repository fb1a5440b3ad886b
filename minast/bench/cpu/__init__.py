"""Rows on the processor: the model against other libraries (`models`), log-mel (`features`), `process`, memory (`kept`)."""
