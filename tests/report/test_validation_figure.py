import numpy as np
import pytest
from PIL import Image

from gnnfusion.errors import UsageError
from gnnfusion.relatedness.transfer import Transfer
from gnnfusion.relatedness.validation import Validation, Verdict
from gnnfusion.report import validation as module
from gnnfusion.report.validation import plot_validation, standardized


def made(estimators, tasks=4, groups=8, seeds=3):
    rng = np.random.default_rng(0)
    names = tuple(f"t{n}" for n in range(tasks))
    truth = Transfer(
        tasks=names, groups=(names,) * groups, seeds=tuple(range(seeds)),
        alone={"test": np.ones((seeds, tasks))},
        together={"test": rng.normal(1, 0.1, (1, groups, tasks))
                  + rng.normal(0, 0.03, (seeds, groups, tasks))},
        derived=np.zeros((tasks, tasks), bool), seconds=1.0,
    )  # fmt: skip
    verdicts = tuple(
        Verdict(f"m{n}", truth.gains() + rng.normal(0, 0.1, (groups, tasks)), 0.5, r, 0.1, 0.2, 1.0)
        for n, r in enumerate(np.linspace(0.9, 0, estimators))
    )
    return Validation(truth, verdicts, {}, False)


def test_points_correlate_as_the_title_says():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 3))
    a[0, 0] = np.nan
    x, y = standardized(a, b + 5)
    both = np.isfinite(x)
    assert np.array_equal(both, np.isfinite(y))
    assert not both[0, 0]
    np.testing.assert_allclose(np.nanmean(x, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(y, axis=0), 1)
    from gnnfusion.relatedness.agreement import z_pearson

    assert np.mean((x * y)[both]) == pytest.approx(float(z_pearson(a, b)))
    flat, _ = standardized(np.ones((5, 2)), rng.normal(size=(5, 2)))
    assert np.isnan(flat).all()


@pytest.mark.parametrize("estimators", [1, 3, 4, 14])
def test_every_estimator_has_a_panel(estimators, tmp_path, monkeypatch):
    texts, save = [], module.save

    def keep(figure, path):
        from matplotlib.text import Text

        texts.extend(t.get_text() for t in figure.findobj(Text))
        return save(figure, path)

    monkeypatch.setattr(module, "save", keep)
    path = plot_validation(made(estimators), tmp_path / "v.png")
    with Image.open(path) as image:
        assert 300 < min(image.size) <= max(image.size) < 1600
    assert sum(t.startswith("m") and "r = " in t for t in texts) == estimators
    assert any("is the most to be expected" in t for t in texts)


def test_one_seed_says_so_and_no_estimator_is_refused(tmp_path):
    plot_validation(made(2, tasks=9, seeds=1), tmp_path / "v.png")
    with pytest.raises(UsageError, match="no estimator to draw"):
        plot_validation(made(0), tmp_path / "none.png")
