"""One-cycle schedules, as plain functions of the step."""

from math import cos, pi

START_FACTOR = 25.0  # peak over initial learning rate
FINAL_FACTOR = 1e4  # initial over final learning rate
LOWEST_BETA_SHARE = 0.85 / 0.95  # of the first beta, at the peak of the learning rate


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))


def _cycle(step: int, steps: int, warmup: float, *, start: float, peak: float, end: float) -> float:
    rise = warmup * steps - 1
    if rise > 0 and step <= rise:
        return _anneal(start, peak, step / rise)
    rise = max(rise, 0.0)
    fall = steps - 1 - rise
    return _anneal(peak, end, (step - rise) / fall if fall else 1.0)


def learning_rate(step: int, *, steps: int, peak: float, warmup: float) -> float:
    """Return the learning rate of a step: up to ``peak`` by a cosine, and down to almost zero by another.

    Equal to PyTorch's ``OneCycleLR`` (Smith & Topin 2018, arXiv 1708.07120) with ``pct_start=warmup``.

    Parameters
    ----------
    step, steps
        Number of the step, from 0, and how many there are.
    peak
        Highest learning rate.
    warmup
        Share of the steps in which it rises.
    """
    start = peak / START_FACTOR
    return _cycle(step, steps, warmup, start=start, peak=peak, end=start / FINAL_FACTOR)


def first_beta(step: int, *, steps: int, beta: float, warmup: float) -> float:
    """Return the first beta of a step when momentum is cycled: lowest where the learning rate peaks.

    As ``OneCycleLR`` cycles it from 0.95 to 0.85 and back, scaled to ``beta``.
    """
    return _cycle(step, steps, warmup, start=beta, peak=beta * LOWEST_BETA_SHARE, end=beta)
