"""Rows on the processor: the model against PyTorch (`models`), log-mel (`features`), `process`, memory (`kept`)."""
