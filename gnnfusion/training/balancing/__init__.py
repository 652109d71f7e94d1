"""Balancing: how the losses of several tasks become one step, by name.

Each module defines ``make(name, weights)``, which returns a
`gnnfusion.training.balancing.balancer.Balancer`. Methods that are one idea share a module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnnfusion.errors import UsageError
from gnnfusion.methods import Method, find_method, load_method

if TYPE_CHECKING:
    from torch import Tensor

    from gnnfusion.training.balancing.balancer import Balancer


@dataclass(frozen=True)
class BalancingMethod(Method):
    """A balancing method.

    Parameters
    ----------
    reads_gradients
        Whether it needs the gradient of every task, one backward pass each; the others read the
        losses alone.
    aggregates
        Whether it makes one gradient of the tasks' gradients; the others weigh losses.
    """

    reads_gradients: bool = False
    aggregates: bool = False


ARXIV = "https://arxiv.org/abs"
NEURIPS_CR_MOGM = (
    "https://proceedings.neurips.cc/paper_files/paper/2022/file/"
    "f91bd64a3620aad8e70a27ad9cb3ca57-Paper-Conference.pdf"
)

# Module; name, summary, reference. Those of one module are one idea.
_LOSSES = {
    "fixed": (
        ("static", "the schema's weights, equal by default",
         f"{ARXIV}/1706.05098"),
        ("sum", "the schema's weights, summed: a mean with a larger step",
         f"{ARXIV}/1706.05098"),
    ),
    "progress": (
        ("performance", "weights in proportion to performance: the best task leads",
         f"{ARXIV}/1707.08114"),
        ("performance_inverse", "weights in inverse proportion to performance: the worst leads",
         f"{ARXIV}/1707.08114"),
        ("dwa", "dynamic weight average: more weight where the loss falls slowly",
         f"{ARXIV}/1803.10704"),
    ),
    "scalarizers": (
        ("random", "new random weights in every step",
         f"{ARXIV}/2111.10603"),
        ("geometric_mean", "geometric mean of the losses, whatever their scales",
         f"{ARXIV}/1904.08492"),
        ("stch", "smooth Tchebycheff: a soft maximum of the losses",
         f"{ARXIV}/2402.19078"),
        ("pbi", "mean loss, and a penalty where losses differ",
         "https://doi.org/10.1109/TEVC.2007.892759"),
    ),
    "learned": (
        ("uncertainty", "each loss over a learned variance",
         f"{ARXIV}/1705.07115"),
        ("imtl_l", "each loss at a learned scale that brings it to one",
         "https://openreview.net/forum?id=IMPnRXEWpvr"),
        ("famo", "weights that make all losses fall at about the same rate",
         f"{ARXIV}/2306.03792"),
    ),
}  # fmt: skip

_GRADIENTS = {
    "gradnorm": (
        ("gradnorm", "weights that make gradients of all tasks about equally large",
         f"{ARXIV}/1711.02257"),
    ),
    "aggregators": (
        ("mean", "mean of the gradients, the reference for the others",
         f"{ARXIV}/2406.16232"),
        ("upgrad", "mean of gradients, each first freed of conflict with all others",
         f"{ARXIV}/2406.16232"),
        ("dual_proj", "mean gradient, freed of conflict with every task's",
         f"{ARXIV}/1706.08840"),
        ("mgda", "shortest vector in the convex hull of the gradients",
         f"{ARXIV}/1810.04650"),
        ("pcgrad", "each gradient projected off those it conflicts with, in random order",
         f"{ARXIV}/2001.06782"),
        ("cagrad", "best gain of the worst task near the mean gradient",
         f"{ARXIV}/2110.14048"),
        ("imtl_g", "equal projections on the gradients of all tasks",
         "https://openreview.net/forum?id=IMPnRXEWpvr"),
        ("aligned_mtl", "gradients made orthogonal and equally long, then averaged",
         f"{ARXIV}/2305.19000"),
        ("nash_mtl", "Nash bargaining among tasks: proportional fairness",
         f"{ARXIV}/2202.01017"),
        ("fair_grad", "alpha-fair gains of the tasks (alpha = 2)",
         f"{ARXIV}/2402.15638"),
        ("grad_drop", "in every coordinate the gradients of one sign, drawn at random",
         f"{ARXIV}/2010.06808"),
        ("grad_vac", "gradients turned to the cosine that each pair has had on average",
         f"{ARXIV}/2010.05874"),
        ("config", "the direction that all tasks gain from equally",
         f"{ARXIV}/2408.11104"),
        ("excess_mtl", "more weight where more of the loss can still be gained",
         f"{ARXIV}/2402.02009"),
        ("cr_mogm", "the weights of mgda, smoothed over steps",
         NEURIPS_CR_MOGM),
        ("trimmed_mean", "in every coordinate the mean without its two extremes",
         f"{ARXIV}/1803.01498"),
    ),
}  # fmt: skip


def _table() -> dict[str, BalancingMethod]:
    found = {}
    for reads, group in ((False, _LOSSES), (True, _GRADIENTS)):
        for module, rows in group.items():
            for name, summary, reference in rows:
                place, aggregates = f"gnnfusion.training.balancing.{module}", module != "gradnorm"
                found[name] = BalancingMethod(
                    place, summary, reference, reads, reads and aggregates
                )
    return found


BALANCINGS = _table()


def find_balancing(name: str) -> BalancingMethod:
    """The registry's entry; `UsageError` lists the names if there is none."""
    return find_method(BALANCINGS, "balancing", name)


def check_precision(name: str, precision: str) -> None:
    """`UsageError` if the method cannot work in that precision."""
    if find_balancing(name).reads_gradients and precision == "16-mixed":
        raise UsageError(
            f"the balancing {name!r} reads gradients of single tasks, which vanish in 16-mixed, "
            "where only the loss as a whole is scaled up; use bf16-mixed or 32-true"
        )


def make_balancer(name: str, weights: Tensor) -> Balancer:
    """A new balancer.

    Parameters
    ----------
    name
        Of the method.
    weights
        The schema's weights of the tasks, summing to one, ``[T]``.

    Raises
    ------
    UsageError
        There is no such method, or a package that it needs is not installed.
    """
    method = find_balancing(name)
    try:
        balancer: Balancer = load_method(method).make(name, weights)
    except ImportError as error:
        raise UsageError(
            f"the balancing {name!r} cannot be used: {error}; "
            "install what it needs with: pip install torchjd quadprog qpsolvers"
        ) from error
    return balancer
