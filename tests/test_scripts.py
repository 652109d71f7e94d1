"""The programs in scripts/ run as they stand, on a tiny planted set, as a user would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gnnfusion.nn.fusion import FUSIONS
from gnnfusion.relatedness.combined import SINGLE_TRAINING

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
MAIN = ("build_graphs", "train_gat", "visualize_relatedness")


def start(
    script: str, *arguments: str, cwd: Path, timeout: int = 120
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GNNFUSION_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scripts")


@pytest.fixture(scope="module")
def trained(folder: Path) -> subprocess.CompletedProcess[str]:
    return start(
        "train_gat", "planted_v1", "-o", "runs", "--seeds", "2", "--epochs", "1", "--device", "cpu",
        "--option", "train=30", "--option", "valid=20", "--option", "test=30", "--workers", "1",
        cwd=folder,
    )  # fmt: skip


def test_build_graphs_shows_a_store_and_a_sample(folder: Path) -> None:
    done = start(
        "build_graphs", "planted", "-o", "store", "--option", "rows=20", "--workers", "1",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "20 samples: 14 train, 3 valid, 3 test" in done.stdout
    assert "--informs--> task" in done.stdout
    assert "task mood: label" in done.stdout
    assert (folder / "store" / "graphs.safetensors").is_file()


def test_train_gat_prints_mean_and_spread_over_seeds(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    assert trained.returncode == 0, trained.stderr
    line = next(li for li in trained.stdout.splitlines() if li.startswith("t0 ") and " mae " in li)
    mean, spread, *each = map(float, line.split()[2:])
    assert mean == pytest.approx(sum(each) / 2, abs=2e-4)
    assert spread == pytest.approx(abs(each[0] - each[1]) / 2**0.5, abs=2e-4)
    metrics = json.loads((folder / "runs" / "seed1" / "metrics.json").read_text())
    assert metrics["split"]["test"]["t0"]["mae"] == pytest.approx(each[1], abs=1e-4)


def test_visualize_relatedness_draws_all_methods(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    assert trained.returncode == 0, trained.stderr
    done = start(
        "visualize_relatedness", "runs/seed0", "-o", "figures", "--device", "cpu", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    for method in ("evidence", "labels", "attention"):
        assert f"{method}: " in done.stdout
        assert (folder / "figures" / f"{method}_matrix.png").stat().st_size > 1000
        assert (folder / "figures" / f"{method}_network.png").stat().st_size > 1000


@pytest.mark.parametrize("script", MAIN)
def test_help_shows_the_exact_command(script: str, folder: Path) -> None:
    done = start(script, "--help", cwd=folder)
    assert done.returncode == 0
    assert f"python scripts/{script}.py" in done.stdout


@pytest.mark.parametrize("script", MAIN)
def test_a_wrong_source_is_one_sentence(script: str, folder: Path) -> None:
    done = start(script, "nosuch.yaml", "-o", "nowhere", cwd=folder)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "nosuch.yaml" in done.stderr


def test_every_program_finds_what_it_imports(folder: Path) -> None:
    names = [script.stem for script in SCRIPTS]
    code = f"import importlib, sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
    code += f"for name in {names!r}: importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_comparison_is_what_its_files_give(folder: Path) -> None:
    done = start(
        "comparison_report", "--results", str(ROOT / "docs" / "results"), "--out", "page.md",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "page.md").read_text() == (ROOT / "docs" / "comparison.md").read_text()


def test_the_benchmark_times_every_contender(folder: Path) -> None:
    done = start("benchmark", "--sizes", "4", "--rounds", "1", "--out", "timed", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "timed" / "benchmark_cpu.json").read_text())
    timed = {(what, name) for what, size, name, *_ in found["rows"] if size == 4}
    assert {("batch", "make_batch"), ("batch", "HeteroData list"), ("layers", "HeteroConv"),
            ("passes", "gatv2"), ("passes", "sage, reusing")} < timed  # fmt: skip
    assert {name for what, name in timed if what == "step"} == set(FUSIONS)
    assert all(ms > 0 for _, _, _, ms, _, _ in found["rows"])


def test_the_exam_of_relatedness_is_passed_on_three_data_sets(folder: Path) -> None:
    """The whole exam has twenty (docs/relatedness.md); of three the bounds are wider."""
    done = start(
        "validate_relatedness", "--seeds", "3", "--no-hard", "--json", "exam.json",
        "--methods", ",".join(("labels", "evidence", "gradient", "cka", *SINGLE_TRAINING)),
        cwd=folder, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "exam.json").read_text())["estimators"]
    for method, least in {
        "labels": 0.9,
        "evidence": 0.85,
        "gradient": 0.85,
        "coregionalization": 0.9,
        "combined": 0.85,
    }.items():
        assert result[method]["auroc"] >= least, method
    for entry in result.values():
        assert {"family", "question", "auroc", "auroc_hard", "spearman", "z_pearson", "qap_p",
                "trainings", "seconds"} <= set(entry)  # fmt: skip
        assert entry["z_pearson"] > 0.8
        assert entry["spearman"] > 0.3
        assert entry["qap_p"] < 0.01
    assert result["labels"]["trainings"] == 0
    for method in ("cka", "coregionalization", "combined"):
        assert result[method]["duplicate_first"] == 1
    assert result["labels"]["duplicate_first_where_clear"] == 1
    for method in ("labels", "evidence", "residuals"):  # those with a null
        assert result[method]["noise_without_edge"] >= 2 / 3
