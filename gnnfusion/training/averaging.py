"""A running average of the weights: a steadier network than the one of the last step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    r"""A copy of a network that follows its weights slowly (Polyak and Juditsky, 1992,
    doi:10.1137/0330046), to be updated after every step:

    .. math:: \bar\theta \leftarrow d_n \bar\theta + (1 - d_n)\, \theta, \qquad
              d_n = \min\Bigl(d, \frac{1 + n}{10 + n}\Bigr)

    with n the updates so far, so that the first weights are soon forgotten. It costs a copy of the
    weights, and no time to speak of.

    Parameters
    ----------
    network
        Whose weights are followed; before the first step.
    decay
        d, in (0, 1): with 0.98 about the last 50 steps count.
    """

    def follow(means: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        n = int(count)  # once for all weights: on a GPU it waits for the device
        for mean, value in zip(means, values, strict=True):
            mean.lerp_(value, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(network, multi_avg_fn=follow)
