import numpy as np
import torch

from gnnfusion.relatedness.resampling import resampled, some_rows


def test_a_bootstrap_sample_is_as_large_as_the_rows():
    times = resampled(500, 20, np.random.default_rng(0))
    assert (times.sum(1) == 20).all()
    assert abs(times.mean(0) - 1).max() < 0.25
    rng = np.random.default_rng(3)
    picks = np.random.default_rng(3).integers(0, 5, (2, 5))
    expected = [np.bincount(p, minlength=5) for p in picks]
    np.testing.assert_array_equal(resampled(2, 5, rng), expected)


def test_fewer_rows_keep_their_order():
    rows = torch.arange(100, 150)
    assert some_rows(rows, 50, np.random.default_rng(0)) is rows
    some = some_rows(rows, 20, np.random.default_rng(0))
    assert len(set(some.tolist())) == 20
    assert (some.diff() > 0).all()
    assert set(some.tolist()) <= set(rows.tolist())
