"""One encoder block, and the last one, of which only the prefix tokens are read. Backward is forward's lines reversed.

The input of a linear layer after a norm or a GELU is cheap to make again, the cheaper the wider the model is. From the
width that a backend calls `LEAN` on it is not kept, which leaves 10 instead of 16 numbers a token and channel. Such a
backend promises that a cache begins with its layer's input, and that linear's is (input, weight).
"""

import math


def block_forward(ops, x, w, c):
    """Pre-norm: x += proj(attention(norm1(x))), then x += fc2(gelu(fc1(norm2(x)))).   x (B, T, D) -> (B, T, D)"""
    h, norm1 = ops.layernorm_forward(x, w["norm1.weight"], w["norm1.bias"], c.encoder_eps)
    h, qkv = ops.linear_forward(h, w["attn.qkv.weight"], w["attn.qkv.bias"])  # (B, T, 3 D)
    h, attention = ops.attention_forward(h, c.heads)
    h, proj = ops.linear_forward(h, w["attn.proj.weight"], w["attn.proj.bias"])
    h += x  # fresh, so that it may become the new x
    x, mlp = mlp_forward(ops, h, w, c)
    return x, (norm1, kept(ops, qkv, c), attention, proj, mlp)


def block_backward(ops, dx, cache, w, dw, c):
    """The same lines upwards; a residual passes the gradient on and adds the branch's.   dx (B, T, D) -> (B, T, D)"""
    norm1, qkv, attention, proj, mlp = cache
    dx = mlp_backward(ops, dx, mlp, w, dw, c)
    dh = ops.linear_backward(dx, proj, dw["attn.proj.weight"], dw["attn.proj.bias"])
    dh = ops.attention_backward(dh, attention)
    qkv = qkv or normed(ops, norm1, w, "norm1", "attn.qkv", c)
    dh = ops.linear_backward(dh, qkv, dw["attn.qkv.weight"], dw["attn.qkv.bias"])
    dh = ops.layernorm_backward(dh, norm1, dw["norm1.weight"], dw["norm1.bias"])
    dh += dx
    return dh


def last_block_forward(ops, x, w, c):
    """The same for the prefix tokens alone; keys and values come from all tokens.   x (B, T, D) -> (B, P, D)"""
    P, D = c.prefix_tokens, c.dim
    qkv_w, qkv_b = w["attn.qkv.weight"], w["attn.qkv.bias"]
    h, norm1 = ops.layernorm_forward(x, w["norm1.weight"], w["norm1.bias"], c.encoder_eps)
    q, query = ops.linear_forward(h[:, :P], qkv_w[:D], qkv_b[:D])  # (B, P, D)
    kv, keys = ops.linear_forward(h, qkv_w[D:], qkv_b[D:])  # (B, T, 2 D)
    h, attention = ops.class_attention_forward(q, kv, c.heads)
    h, proj = ops.linear_forward(h, w["attn.proj.weight"], w["attn.proj.bias"])
    h += x[:, :P]
    x, mlp = mlp_forward(ops, h, w, c)
    return x, (norm1, query, keys, attention, proj, mlp)


def last_block_backward(ops, dx, cache, w, dw, c):
    """The same lines upwards.   dx (B, P, D) -> (B, T, D)"""
    P, D = c.prefix_tokens, c.dim
    norm1, query, keys, attention, proj, mlp = cache
    dx = mlp_backward(ops, dx, mlp, w, dw, c)
    dh = ops.linear_backward(dx, proj, dw["attn.proj.weight"], dw["attn.proj.bias"])
    dq, dkv = ops.class_attention_backward(dh, attention)
    dqkv_w, dqkv_b = dw["attn.qkv.weight"], dw["attn.qkv.bias"]
    dh = ops.linear_backward(dkv, keys, dqkv_w[D:], dqkv_b[D:])
    dh[:, :P] += ops.linear_backward(dq, query, dqkv_w[:D], dqkv_b[:D])
    dh = ops.layernorm_backward(dh, norm1, dw["norm1.weight"], dw["norm1.bias"])
    dh[:, :P] += dx
    return dh


def mlp_forward(ops, x, w, c):
    """x + fc2(gelu(fc1(norm2(x)))).   x (B, T, D) -> (B, T, D)"""
    h, norm2 = ops.layernorm_forward(x, w["norm2.weight"], w["norm2.bias"], c.encoder_eps)
    h, fc1 = ops.linear_forward(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"])  # (B, T, 4 D)
    h, gelu = ops.gelu_forward(h, c.gelu)
    h, fc2 = ops.linear_forward(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    h += x
    return h, (norm2, kept(ops, fc1, c), gelu, kept(ops, fc2, c))


def mlp_backward(ops, dx, cache, w, dw, c):
    """dx (B, T, D) -> (B, T, D)"""
    norm2, fc1, gelu, fc2 = cache
    fc2 = fc2 or (ops.gelu_forward(gelu[0], c.gelu)[0], w["mlp.fc2.weight"])
    dh = ops.linear_backward(dx, fc2, dw["mlp.fc2.weight"], dw["mlp.fc2.bias"])
    del fc2
    dh = ops.gelu_backward(dh, gelu)
    fc1 = fc1 or normed(ops, norm2, w, "norm2", "mlp.fc1", c)
    dh = ops.linear_backward(dh, fc1, dw["mlp.fc1.weight"], dw["mlp.fc1.bias"])
    dh = ops.layernorm_backward(dh, norm2, dw["norm2.weight"], dw["norm2.bias"])
    dh += dx
    return dh


def kept(ops, cache, c):
    """A linear layer's cache, or None if its input will be made again."""
    return None if c.dim >= getattr(ops, "LEAN", math.inf) else cache


def normed(ops, cache, w, norm, linear, c):
    """The cache of the linear layer that follows a layer norm, made again."""
    h, _ = ops.layernorm_forward(cache[0], w[norm + ".weight"], w[norm + ".bias"], c.encoder_eps)
    return h, w[linear + ".weight"]
