"""PyTorch's side of each comparison. Nothing else in bench imports torch or transformers; both may be missing.

`runtime` finds them, `kernels` does a single kernel's job, `twin` is the whole model with our weights, `model` trains
and runs it as its users do, `memory` counts what that takes, `features` computes log-mels.
"""
