"""Which parameters belong to one task alone, found by asking the network itself."""

from __future__ import annotations

import torch

from gnnfusion.graphs.batch import make_batch, topology_of
from gnnfusion.graphs.store import GraphStore
from gnnfusion.nn.network import FusionNetwork

PROBE = 32


def task_parameters(network: FusionNetwork, store: GraphStore) -> dict[str, list[str]]:
    """Names of the parameters that the output of a single task alone depends on, by task.

    Heads, and whatever else of the fusion or the architecture serves one task. A parameter that
    several outputs depend on is shared; so is one that none does here (a label's embedding, which
    is read when labels are shown, and then by the other tasks).

    Parameters
    ----------
    network
        As it is; it is left as it was.
    store
        Some of its rows are run through the network.
    """
    present = store.present(store.rows())
    having = [present[:, m].nonzero()[0] for m in range(present.shape[1]) if present[:, m].any()]
    rows = torch.cat([torch.arange(min(PROBE, len(store))), *having]).unique()
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    names, parameters = zip(*named, strict=True)
    device, training = parameters[0].device, network.training
    network.eval()
    with torch.enable_grad():
        outputs = network(make_batch(store, rows, topology_of(store)).to(device))
    network.train(training)
    readers: list[list[str]] = [[] for _ in names]
    for task, out in outputs.items():
        found = torch.autograd.grad(out.sum(), parameters, retain_graph=True, allow_unused=True)
        for place, gradient in enumerate(found):
            if gradient is not None:
                readers[place].append(task)
    return {
        task: [name for name, who in zip(names, readers, strict=True) if who == [task]]
        for task in outputs
    }
