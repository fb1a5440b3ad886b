"""Rows on the processor: the whole model against PyTorch (`models`), log-mel (`features`), processes (`process`)."""
