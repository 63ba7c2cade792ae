"""The published algorithms, transcribed from their papers into plain NumPy: what the rules are tested against.

A transcription is the whole algorithm. It asks for a gradient g(x, t) where the paper evaluates one, t = 1 at the first
step, and yields the parameter after every step. `lr` is a function of t, as α_t is in the papers; the other settings go
by the names of the rule's fields.
"""

from itertools import count, islice

import numpy as np


def gd(g, x, lr):
    """Cauchy (1847)."""
    for t in count(1):
        x = x - lr(t) * g(x, t)
        yield x


def momentum(g, x, lr, momentum, dampening, average, lr_in, first):
    """Polyak (1964, equation 9): x' = x − α g + μ (x − x₋₁); or with α outside of the sum, x' = x − α Σ μ^(t−i) g_i."""
    previous, gathered = x, np.zeros_like(x)
    for t in count(1):
        share = (1 - (dampening or 0)) * ((1 - momentum) if average else 1)
        gradient = g(x, t) * (1 if t == 1 and first == "undamped" else share)
        gathered = momentum * gathered + gradient
        if lr_in == "velocity":
            previous, x = x, x - lr(t) * gradient + momentum * (x - previous)
        else:
            x = x - lr(t) * gathered
        yield x


def nesterov(g, x, lr, momentum, form):
    """Sutskever et al. (2013, equations 3 and 4), the gradient taken at the look-ahead point, which is what is yielded.

    "gradient sum": first the gradient step from there, then the look-ahead along all gradients at today's rate.
    """
    theta, v, total = x, np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        if form == "gradient sum":
            gradient = g(x, t)
            theta = x - lr(t) * gradient
            total = momentum * total + gradient
            x = theta - lr(t) * momentum * total
        else:
            v = momentum * v - lr(t) * g(theta + momentum * v, t)
            theta = theta + v
            x = theta + momentum * v
        yield x


def nesterov_1983(g, x, lr, momentum):
    """Nesterov (1983): a gradient step from y, then y moves on along the line of the last two iterates."""
    y = x
    for t in count(1):
        previous, x = x, y - lr(t) * g(y, t)
        y = x + momentum * (x - previous)
        yield y


def sign(g, x, lr):
    """Bernstein et al. (2018, Algorithm 1)."""
    for t in count(1):
        gradient = g(x, t)
        x = x - lr(t) * ((gradient > 0) * 1.0 - (gradient < 0) * 1.0)
        yield x


def adagrad(g, x, lr, eps, initial, eps_at, mean):
    """Duchi, Hazan & Singer (2011, figure 1, diagonal)."""
    gathered = np.full_like(x, initial)
    for t in count(1):
        gradient = g(x, t)
        gathered = gathered + gradient**2
        record = gathered / t if mean else gathered
        root = np.sqrt(record + eps) if eps_at == "inside root" else np.sqrt(record) + eps
        x = x - lr(t) * gradient / root
        yield x


def adadelta(g, x, lr, rho, eps):
    """Zeiler (2012, Algorithm 1), RMS[y] = √(E[y²] + ε)."""
    mean_g2 = np.zeros_like(x)
    mean_dx2 = np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        mean_g2 = rho * mean_g2 + (1 - rho) * gradient**2
        dx = -np.sqrt(mean_dx2 + eps) / np.sqrt(mean_g2 + eps) * gradient
        mean_dx2 = rho * mean_dx2 + (1 - rho) * dx**2
        x = x + lr(t) * dx
        yield x


def rmsprop(g, x, lr, rho, eps, momentum, initial, eps_at, centered, corrected, lr_in, nesterov):
    """Tieleman & Hinton (2012, lecture 6.5); Graves (2013, equations 38 to 41): n, the mean square, ḡ, the mean, Δ."""
    n, mean, delta = np.full_like(x, initial), np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        n = rho * n + (1 - rho) * gradient**2
        mean = rho * mean + (1 - rho) * gradient
        bias = 1 - rho**t if corrected else 1
        spread = n / bias - ((mean / bias) ** 2 if centered else 0)
        normed = gradient / (np.sqrt(spread + eps) if eps_at == "inside root" else np.sqrt(spread) + eps)
        inner, outer = (lr(t), 1) if lr_in == "velocity" else (1, lr(t))
        delta = (momentum or 0) * delta - inner * normed
        ahead = momentum * delta - inner * normed if nesterov and momentum is not None else delta
        x = x + outer * ahead
        yield x


def adam(g, x, lr, b1, b2, eps, eps_root, eps_on, weight_decay=0.0):
    """Kingma & Ba (2015, Algorithm 1; ε̂ of section 2); with weight decay Loshchilov & Hutter (2019, Algorithm 2)."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        if eps_on == "corrected v":
            move = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t) + (eps_root or 0)) + eps)
        else:
            # ε_root stays what is added to v̂, so on v it is shrunk by v's bias.
            root = np.sqrt(v + (eps_root or 0) * (1 - b2**t))
            move = np.sqrt(1 - b2**t) / (1 - b1**t) * m / (root + eps)
        x = x - lr(t) * (move + weight_decay * x)
        yield x


def amsgrad(g, x, lr, b1, b2, eps, eps_root, eps_on, max_of, moments):
    """Reddi, Kale & Kumar (2018, Algorithm 2), which has no hats; with them as Adam has them, by `moments`."""
    m, v, largest = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        bias1, bias2 = (1 - b1**t, 1 - b2**t) if moments == "corrected" else (1, 1)
        m = b1 * m + (1 - b1) * gradient
        v = b2 * v + (1 - b2) * gradient**2
        if max_of == "raw v":
            largest = np.maximum(largest, v)
            v_hat = largest / bias2
        else:
            largest = v_hat = np.maximum(largest, v / bias2)
        root = np.sqrt(v_hat + (eps_root or 0)) + (eps if eps_on == "corrected v" else eps / np.sqrt(bias2))
        x = x - lr(t) * (m / bias1) / root
        yield x


def adamax(g, x, lr, b1, b2, eps, eps_in):
    """Kingma & Ba (2015, Algorithm 2)."""
    m, u = np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        m = b1 * m + (1 - b1) * gradient
        if eps_in == "maximum":
            u = np.maximum(b2 * u, np.abs(gradient) + eps)
            norm = u
        else:
            u = np.maximum(b2 * u, np.abs(gradient))
            norm = u + eps
        x = x - lr(t) / (1 - b1**t) * m / norm
        yield x


def nadam(g, x, lr, b1, b2, eps, eps_root, psi, weight_decay=0.0):
    """Dozat (2016, Algorithm 2), m gathered at rate β₁, as torch and Keras do, where the paper's rate is μ_t."""

    def mu(t):
        return b1 if psi is None else b1 * (1 - 0.5 * 0.96 ** (t * psi))

    m, n = np.zeros_like(x), np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        m = b1 * m + (1 - b1) * gradient
        n = b2 * n + (1 - b2) * gradient**2
        product = np.prod([mu(i) for i in range(1, t + 1)])
        m_hat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * gradient / (1 - product)
        n_hat = n / (1 - b2**t)
        x = x - lr(t) * (m_hat / (np.sqrt(n_hat + (eps_root or 0)) + eps) + weight_decay * x)
        yield x


def radam(g, x, lr, b1, b2, eps, eps_root, bound, eps_on, at_bound):
    """Liu et al. (2020, Algorithm 2), whose bound is 4."""
    m, v = np.zeros_like(x), np.zeros_like(x)
    longest = 2 / (1 - b2) - 1
    for t in count(1):
        gradient = g(x, t)
        v = b2 * v + (1 - b2) * gradient**2
        m = b1 * m + (1 - b1) * gradient
        m_hat = m / (1 - b1**t)
        length = longest - 2 * t * b2**t / (1 - b2**t)
        if length > bound or (length == bound and at_bound == "adaptive"):
            rect = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            bias = 1 - b2**t
            if eps_on == "corrected v":
                adapt = 1 / (np.sqrt(v / bias + (eps_root or 0)) + eps)
            else:
                adapt = np.sqrt(bias) / (np.sqrt(v + (eps_root or 0) * bias) + eps)
            x = x - lr(t) * rect * m_hat * adapt
        else:
            x = x - lr(t) * m_hat
        yield x


def lion(g, x, lr, b1, b2, weight_decay):
    """Chen et al. (2023, Algorithm 2)."""
    m = np.zeros_like(x)
    for t in count(1):
        gradient = g(x, t)
        update = np.sign(b1 * m + (1 - b1) * gradient)
        x = x - lr(t) * (update + (weight_decay or 0) * x)
        m = b2 * m + (1 - b2) * gradient
        yield x


PAPERS = {
    "gd": gd,
    "momentum": momentum,
    "nesterov": nesterov,
    "sign": sign,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "amsgrad": amsgrad,
    "adamw": adam,
    "adamax": adamax,
    "nadam": nadam,
    "nadamw": nadam,
    "radam": radam,
    "lion": lion,
}
"""By the name of the rule."""


def path(walk, steps):
    """The first iterates of an endless walk, shape (steps, …)."""
    return np.array(list(islice(walk, steps)))


def relative_error(ours, theirs, start):
    """The largest |ours − theirs| in each coordinate over how far that coordinate moved, at the worst coordinate."""
    moved = np.abs(theirs - start).max(axis=0)
    return np.max(np.abs(ours - theirs).max(axis=0) / np.where(moved > 0, moved, np.finfo(float).tiny))
