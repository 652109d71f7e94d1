"""Every command and every program that the documents show runs, and what they say is so.

Blocks of a document run in order, in one folder and one namespace. ``text`` blocks are not run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(p.relative_to(ROOT)) for p in DOCS]
SETUP = "python docs/example_table.py machines"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(path: Path) -> list[tuple[str, str]]:
    return FENCE.findall(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example table, written once by the program that the README names."""
    folder = tmp_path_factory.mktemp("example") / "machines"
    runpy.run_path(str(ROOT / "docs" / "example_table.py"))["main"](folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run_line(line: str, machines: Path) -> None:
    if line == SETUP:
        shutil.copytree(machines, "machines")
        return
    words = shlex.split(line, comments=True)
    assert words[0] == "gnnfusion", f"only gnnfusion can be tested in a bash block, not {line!r}"
    expected = re.search(r"# exits (\d)", line)
    assert run_command(words[1:]) == (int(expected.group(1)) if expected else 0), line


def run_command(words: list[str]) -> int:
    from gnnfusion.cli import main

    try:
        return main(words)
    except SystemExit as stop:  # the parser's way to leave after --help or bad usage
        return int(stop.code or 0)


@pytest.mark.parametrize("path", [p for p in DOCS if p.name != "results.md"], ids=lambda p: p.name)
def test_blocks_run(
    path: Path, machines: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GNNFUSION_CACHE", str(cache))
    namespace: dict[str, object] = {"__name__": "__main__"}
    runnable = [b for b in blocks(path) if b[0] in ("python", "bash")]
    if not any(SETUP in text for _, text in runnable):
        shutil.copytree(machines, "machines")
    for language, text in runnable:
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, str(path), "exec"), namespace)
        else:
            for line in filter(None, map(str.strip, text.replace("\\\n", " ").splitlines())):
                if not line.startswith("#"):
                    run_line(line, machines)


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_fences_say_what_they_are(path: Path) -> None:
    allowed = {"text", "python", "bash", "yaml", "json"}
    assert {language for language, _ in blocks(path)} <= allowed


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{path.name} links to {target}"


def anchors(path: Path) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


# -- docs/schema.md against the code ----------------------------------------------------------

SCHEMA_MD = ROOT / "docs" / "schema.md"
BASE = {
    "table": "table.csv",
    "modalities": {
        "photo": {"kind": "image", "column": "photo"},
        "sound": {"kind": "audio", "column": "sound"},
    },
    "tasks": {"wear": {"kind": "regression"}, "urgent": {"kind": "binary"}},
}


@pytest.mark.parametrize("text", [t for lang, t in blocks(SCHEMA_MD) if lang == "yaml"])
def test_yaml_is_a_schema(text: str) -> None:
    from gnnfusion import Schema, Topology
    from gnnfusion.features import read_settings

    schema = Schema.from_dict({**BASE, **yaml.safe_load(text)})
    for m in schema.modalities:
        read_settings(m.kind, m.name, m.extractor)
        check_encoder(dict(m.encoder))
    Topology(schema.topology or ())
    assert Schema.from_dict(schema.to_dict()) == schema


def check_encoder(settings: dict[str, object]) -> None:
    if settings:
        name = str(settings.pop("name"))
        assert set(settings) <= set(encoder_defaults(name))


def encoder_defaults(name: str) -> dict[str, object]:
    """Settings of an encoder that a schema can give, with their defaults."""
    import importlib

    from torch import nn

    from gnnfusion.nn.encoders import ENCODERS

    module = importlib.import_module(ENCODERS[name])
    classes = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, nn.Module) and c.__module__ == module.__name__
    ]
    (encoder,) = classes
    given = inspect.signature(encoder).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


def section(title: str) -> str:
    text = SCHEMA_MD.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,3}} |\Z)", text, re.M | re.S)
    assert found, f"docs/schema.md has no section {title!r}"
    return found.group(2)


def documented(title: str) -> dict[str, object]:
    """Rows ``| `name` | `default` | ... |`` of a section's tables."""
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section(title), re.MULTILINE)
    return {name: yaml.safe_load(default) for name, default in rows}


def plain(value: object) -> object:
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("kind", ["text", "image", "video", "audio", "tabular", "series", "array"])
def test_extractor_settings_are_documented(kind: str) -> None:
    from gnnfusion.features import load_kind

    settings = load_kind(kind).Settings
    expected = {f.name: plain(f.default) for f in dataclasses.fields(settings)}
    assert documented(kind) == expected


@pytest.mark.parametrize("name", ["mlp", "cnn", "conv1d", "gru", "transformer", "columns"])
def test_encoder_settings_are_documented(name: str) -> None:
    expected = {k: plain(v) for k, v in encoder_defaults(name).items()}
    assert documented(f"encoder {name}") == expected


def test_every_rule_has_its_settings_and_an_example() -> None:
    from gnnfusion.graphs.topology import RULES

    text = section("topology")
    for name, rule in RULES.items():
        parameters = list(inspect.signature(rule).parameters)[1:]
        row = re.search(rf"^\| `{name}` \|(.*)$", text, re.MULTILINE)
        assert row, f"rule {name} is not in the table"
        for parameter in parameters:
            assert f"`{parameter}" in row.group(1), f"{name} does not name {parameter}"
        assert re.search(rf"^  - {name}:", text, re.MULTILINE), f"rule {name} has no example"


def test_every_extra_metric_is_named() -> None:
    from gnnfusion.training.metrics import EXTRA

    assert all(f"`{name}`" in section("tasks") for name in EXTRA)


def test_every_public_name_is_documented() -> None:
    import gnnfusion

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [n for n in gnnfusion.__all__ if f"`{n}" not in text] == []


def test_every_command_is_documented() -> None:
    from gnnfusion.cli import COMMANDS

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [n for n in COMMANDS if f"## {n}" not in text] == []


def test_every_fusion_is_documented() -> None:
    """The table of docs/fusion.md says what the registry says."""
    from gnnfusion.nn.fusion import FUSIONS

    text = (ROOT / "docs" / "fusion.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| `(\w+)` \| (.*?) \| .* \| \[.*\]\((.*)\) \| (yes|no) \|$", re.MULTILINE)
    expected = [
        (name, m.summary, m.reference, "yes" if m.uses_task_nodes else "no")
        for name, m in FUSIONS.items()
    ]
    assert row.findall(text) == expected


def test_every_sharing_is_documented() -> None:
    """The table of docs/sharing.md says what the registry says, and what goes with what."""
    from gnnfusion.nn.fusion import FUSIONS
    from gnnfusion.nn.sharing import SHARINGS, refusal

    words = {
        "every fusion": set(FUSIONS),
        "all but `late`": set(FUSIONS) - {"late"},
        "fusions with task nodes": {n for n, f in FUSIONS.items() if f.uses_task_nodes},
    }
    text = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
    row = re.compile(
        r"^\| `(\w+)` \| ([^|]*?) \| .* \| .* \| ([^|]*) \| \[.*\]\((.*)\) \|$", re.MULTILINE
    )
    found = row.findall(text)
    assert [(name, does, link) for name, does, _, link in found] == [
        (name, m.summary, m.reference) for name, m in SHARINGS.items()
    ]
    for name, _, fits, _ in found:
        assert words[fits] == {fusion for fusion in FUSIONS if refusal(name, fusion) is None}
