"""Solutions of 05_encoder_trained."""

import math

from minast import layers


def branch_backward(dy, caches, dw):
    norm, fc1, gelu, fc2 = caches
    dh = layers.linear_backward(dy, fc2, dw["mlp.fc2.weight"], dw["mlp.fc2.bias"])  # the last layer first
    dh = layers.gelu_backward(dh, gelu)
    dh = layers.linear_backward(dh, fc1, dw["mlp.fc1.weight"], dw["mlp.fc1.bias"])
    dh = layers.layernorm_backward(dh, norm, dw["norm2.weight"], dw["norm2.bias"])
    return dh + dy  # the residual: what is added forward passes dy on untouched


def block_weights(dim):
    attention = 3 * dim * dim + 3 * dim + dim * dim + dim  # qkv, proj
    mlp = 4 * dim * dim + 4 * dim + 4 * dim * dim + dim  # fc1, fc2
    return attention + mlp + 2 * 2 * dim  # two norms: 12 D^2 + 13 D


def flat_offsets(sizes, step):
    starts, at = [], 0
    for size in sizes:
        starts.append(at)
        at += -(-size // step) * step  # rounded up: -(-a // b) is the ceiling of a / b
    return starts, at


def learning_rate(step, steps, lr, warmup):
    if step < warmup:
        return lr * (step + 1) / warmup  # + 1: the first step learns something too
    done = (step - warmup) / (steps - warmup)
    return lr * 0.5 * (1 + math.cos(math.pi * done))


def diagnose(losses, classes):
    last = sum(losses[-10:]) / len(losses[-10:])
    if not all(map(math.isfinite, losses)):  # comparisons with NaN are all false: ask first
        return "diverged"
    if last > 1.5 * math.log(classes):
        return "diverged"
    return "stuck" if last > 0.95 * math.log(classes) else "learns"
