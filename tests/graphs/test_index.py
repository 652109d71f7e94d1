"""Index arithmetic against loops."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnfusion.graphs.index import owners, pairs, pointers, ranges, rank_within

COUNTS = st.lists(st.integers(0, 4), max_size=6)


def tensor(values):
    return torch.tensor(values, dtype=torch.long)


@given(COUNTS)
def test_pointers_and_owners(counts):
    ptr = pointers(tensor(counts))
    assert ptr.tolist() == [sum(counts[:i]) for i in range(len(counts) + 1)]
    assert owners(ptr).tolist() == [g for g, c in enumerate(counts) for _ in range(c)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), max_size=6))
def test_ranges(parts):
    start, counts = tensor([p[0] for p in parts]), tensor([p[1] for p in parts])
    assert ranges(start, counts).tolist() == [s + i for s, c in parts for i in range(c)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6))
def test_pairs(sizes):
    a, b = (pointers(tensor([s[i] for s in sizes])) for i in (0, 1))
    expected = [
        [s, t]
        for g in range(len(sizes))
        for s in range(int(a[g]), int(a[g + 1]))
        for t in range(int(b[g]), int(b[g + 1]))
    ]
    assert pairs(a, b).T.tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2)), max_size=12))
def test_rank_within(items):
    """Rank = number of smaller values of the group, and of equal ones before it."""
    group, value = tensor([i[0] for i in items]), tensor([i[1] for i in items]).float()
    expected = [
        sum(g == h and (w < v or (w == v and j < i)) for j, (h, w) in enumerate(items))
        for i, (g, v) in enumerate(items)
    ]
    assert rank_within(group, value).tolist() == expected
