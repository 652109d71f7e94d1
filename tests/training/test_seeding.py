import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnnfusion.training.seeding import (
    derived_seed,
    draw_left_out,
    epoch_order,
    generator,
    seed_torch,
)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
KEYS = st.lists(st.one_of(st.integers(-5, 5), st.sampled_from(["a", "b", "1"])), max_size=4)


@given(KEYS, KEYS)
def test_seeds_depend_on_every_key_and_its_place(a, b):
    assert 0 <= derived_seed(*a) < 2**63
    assert (derived_seed(*a) == derived_seed(*b)) == (a == b)


def test_a_generator_is_a_function_of_its_place():
    a, b, c = (torch.rand(4, generator=generator("x", n)) for n in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])
def test_what_torch_draws_is_what_it_draws_after_its_own_seeding(device):
    torch.zeros(1, device=device)
    torch.manual_seed(derived_seed("step", 3))
    expected = torch.rand(4, device=device)
    seed_torch("step", 3)
    assert torch.equal(torch.rand(4, device=device), expected)


def test_every_epoch_visits_all_rows_in_an_order_of_its_own():
    rows = torch.arange(50) * 3
    orders = [epoch_order(rows, seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for order in orders:
        assert torch.equal(order.sort().values, rows)
    assert len({tuple(o.tolist()) for o in orders}) == 6
    assert torch.equal(epoch_order(rows, 1, 2), orders[-1])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_modalities_left_out_never_are_all_that_a_sample_has(share):
    present = torch.rand(2000, 3, generator=generator("present")) < 0.7
    out = draw_left_out(present, share, generator("out"))
    some = present.any(1)
    assert (present & ~out)[some].any(1).all()
    # Where all three would go (share cubed), one of them stays.
    expected = share - share**3 / 3
    assert abs(float(out[present.all(1)].float().mean()) - expected) < 0.05
    torch.testing.assert_close(out, draw_left_out(present, share, generator("out")))
