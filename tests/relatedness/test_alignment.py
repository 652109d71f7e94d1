import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnnfusion.relatedness.alignment import aligned, aligned_without
from gnnfusion.relatedness.estimators.representation import cka_matrix


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3))
def test_alignment_and_that_without_each_row(seed, a, b):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, a)), rng.normal(size=(12, b))
    assert aligned(x, y) == pytest.approx(cka_matrix([x, y])[0, 1])
    expected = [aligned(np.delete(x, n, 0), np.delete(y, n, 0)) for n in range(12)]
    np.testing.assert_allclose(aligned_without(x, y), expected, rtol=1e-8, atol=1e-12)


def test_what_is_constant_aligns_with_nothing():
    x = np.arange(6.0)[:, None]
    assert np.isnan(aligned(x, np.ones((6, 2))))
    assert aligned(x, -2 * x + 1) == pytest.approx(1)
