"""Message passing operators, one per file.

Each module defines ``make(width, heads)``, a module that maps source features
``[n, width]``, target features ``[m, width]`` and edges ``[2, E]`` to messages ``[m, width]``. It
has no bias, so that a target without edges receives exactly zero. One that uses no more of the
targets than how many there are says so with ``reads_target = False``: its messages stay as they are
when only the targets change.
"""

from __future__ import annotations

import importlib

from torch import nn

from gnnfusion.errors import UsageError

OPERATORS = {
    "gcn": "gnnfusion.nn.conv.gcn",
    "gat": "gnnfusion.nn.conv.gat",
    "gatv2": "gnnfusion.nn.conv.gatv2",
    "sage": "gnnfusion.nn.conv.sage",
}


def check_heads(width: int, heads: int) -> None:
    """`UsageError` if the heads do not divide the width."""
    if width % heads:
        raise UsageError(f"width {width} is not a multiple of the {heads} heads")


def make_conv(name: str, width: int, heads: int) -> nn.Module:
    """The named operator; `UsageError` if there is none or the heads do not divide the width."""
    if name not in OPERATORS:
        raise UsageError(f"unknown convolution {name!r}; use one of {', '.join(OPERATORS)}")
    check_heads(width, heads)
    module: nn.Module = importlib.import_module(OPERATORS[name]).make(width, heads)
    return module
