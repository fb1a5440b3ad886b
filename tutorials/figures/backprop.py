"""Figures of 03_backprop."""

import matplotlib.pyplot as plt
import numpy as np

import look


def softmax_and_jacobian(p, dx, jacobian):
    """Probabilities with a gradient, and the Jacobian of the softmax.   p, dx (C,), jacobian (C, C)"""
    _, (left, right) = look.figure(1, 2, 3.2)
    look.bars(range(len(p)), {"p": p, "dx": dx}, left, "probabilities, and a gradient", "entry", "p, dx")
    names = {"xlabel": "j: entry of x that moves", "ylabel": "i: entry of p"}
    look.heatmap(jacobian, "signed", "∂p / ∂x", right, "Jacobian: diag(p) - p pᵀ", limit=0.25, **names)
    plt.show()


def cross_entropy(p, y, gradient, logit, loss, slope):
    """One clip's probabilities, target and gradient; the loss as one logit moves.   p, y, gradient (K,)"""
    _, (left, right) = look.figure(2, 1, 5.6)
    series = {"p: what the model says": p, "y: what is true": y, "p - y: the gradient": gradient}
    title = "class 4 is right, class 1 is favoured"
    look.bars(range(len(p)), series, left, title, "class", "probability; gradient")
    series = {"loss (nats)": loss, "its derivative: p - 1": slope}
    names = "as the right class's logit moves", "logit of class 4", "nats; nats per unit of logit"
    look.lines(logit, series, right, *names)
    right.axhline(0, color="0.3", linewidth=0.6)
    plt.show()


def bce(logits, losses, z, naive, stable):
    """The loss of one answer for several targets; two forms of it in float32.   losses: {name: (n,)}"""
    _, (left, right) = look.figure(1, 2, 3)
    look.lines(logits, losses, left, "the loss of one answer", "logit x", "loss (nats)")
    right.plot(z, naive, linewidth=5, alpha=0.4, label="-log(1 - σ(x)): ends")
    look.lines(z, {"stable: goes on": stable}, right, "target 0, float32", "logit x", names=False)
    look.beside(right)
    plt.show()


def norm_plane(at, to, arrow):
    """Tokens of three channels on the plane of mean 0, their norms, and a step downhill.   all (n, 2)"""
    _, axes = look.figure(height=4.6, width=8)
    axes.add_patch(plt.Circle((0, 0), np.sqrt(3), fill=False, color="0.7"))
    for start, end in zip(at, to, strict=True):
        axes.plot(*zip((0, 0), start, end, strict=True), color="0.8", linewidth=1)
    axes.plot(*at.T, "o", markersize=5, label="x - μ")
    axes.plot(*to.T, "o", markersize=4, label="n: all on a circle of radius √3")
    look_arrow = {"angles": "xy", "scale_units": "xy", "scale": 4, "width": 0.005}
    axes.quiver(*at.T, *arrow.T, label="-dx / 4: a step downhill", **look_arrow)
    names = {"xlabel": "first axis of the plane", "ylabel": "second axis of the plane"}
    axes.set(title="dx turns a token, never stretches it", aspect="equal", **names)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()


def gelu(x, curves, differences):
    """GELU with its slope, and how far the tanh form is from it.   curves, differences: {name: (n,)}"""
    _, (left, right) = look.figure(1, 2, 3)
    look.lines(x, curves, left, "GELU", "x", "y; dy / dx", limits={"ylim": (-0.5, 3)})
    look.lines(x, differences, right, "tanh form minus exact form", "x", "difference")
    plt.show()


def steps(steps, curves):
    """The error of numeric derivatives over the step, with guides.   curves: {name: (n,)}"""
    _, axes = look.figure(height=3.8)
    for (name, errors), mark in zip(curves.items(), "sov", strict=True):
        axes.loglog(steps, np.maximum(errors, 1e-16), mark, markersize=4, label=name)
    guide = 10.0 ** np.array([-3, -0.5])
    axes.loglog(guide, 0.3 * guide**2, "k:", linewidth=1, label="h²")
    axes.loglog(guide, 0.3 * guide**4, "k--", linewidth=1, label="h⁴")
    guide = 10.0 ** np.array([-12, -5.5])
    axes.loglog(guide, 1e-16 / guide, "k-.", linewidth=1, label="10⁻¹⁶ / h")
    names = {"title": "right gradient, measured with different steps", "xlabel": "step h", "ylabel": "relative error"}
    axes.set(ylim=(1e-16, 30), **names)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()


def kink(t, measured):
    """Central differences across a kink, in units of the step.   measured: {"ReLU": (n,), "GELU": (n,)}"""
    _, axes = look.figure()
    series = {"ReLU, measured": measured["ReLU"], "GELU, measured": measured["GELU"]}
    axes.plot(t, t > 0, ":", color="0.4", label="ReLU, true slope")
    look.lines(t, series, axes, "a central difference near a kink, h = 10⁻⁵", "x / h", "slope", names=False)
    look.beside(axes)
    plt.show()


def directions(tries):
    """What many random directions saw.   tries: {name: relative errors}"""
    _, axes = look.figure()
    for name, errors in tries.items():
        axes.hist(np.log10(errors), bins=np.arange(-14, 0, 0.25), alpha=0.7, label=name)
    axes.axvline(-7, color="k", linestyle="--", linewidth=1, label="minast's tolerance")
    title = f"{len(next(iter(tries.values())))} random directions"
    axes.set(title=title, xlabel="log10 of the relative error", ylabel="directions")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plt.show()
