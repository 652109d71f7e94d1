import dataclasses
import subprocess
import sys

import pytest

from gnnfusion.errors import SchemaError
from gnnfusion.features import KINDS, load_kind, plain_settings, read_settings
from gnnfusion.schema import MODALITY_KINDS


def test_every_kind_of_the_schema_has_an_extractor():
    assert set(KINDS) == set(MODALITY_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_keep_the_protocol(kind):
    module = load_kind(kind)
    for name in ("VERSION", "CHUNK", "FIT_ROWS", "fit", "spec", "extract", "parallel"):
        assert hasattr(module, name)
    settings = read_settings(kind, "m", {})
    assert dataclasses.is_dataclass(settings)
    assert read_settings(kind, "m", plain_settings(settings)) == settings
    for field in dataclasses.fields(settings):
        assert field.name in module.Settings.__doc__, "every setting is documented"


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_settings_are_named_with_the_known(kind):
    with pytest.raises(SchemaError, match=rf"modality 'm': unknown .* 'colour'; {kind} has "):
        read_settings(kind, "m", {"colour": 1})


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("image", {"size": "big"}, "modality 'm'"),
        ("image", {"size": 64, "grid": [3, 3]}, "does not divide"),
        ("image", {"channels": 2}, "channels must be 1 or 3"),
        ("audio", {"features": "chroma"}, "use logmel, mfcc or prosody"),
        ("audio", {"fmax": 9000}, "half of rate"),
        ("video", {"rate": 0}, "more than 0"),
        ("series", {"pad": "wrap"}, "use last or zero"),
        ("text", {"layers": [1]}, "needs a `model`"),
        ("text", {"nodes": "word"}, "use sentence or tokens"),
        ("tabular", {"numeric": ["a"], "dates": ["a"]}, "listed as two kinds"),
        ("array", {"dtype": "int8"}, "use auto, float32 or uint8"),
    ],
)
def test_settings_that_do_not_fit_are_explained(kind, values, message):
    with pytest.raises(SchemaError, match=message):
        read_settings(kind, "m", values)


def test_the_registry_is_light():
    code = (
        "import sys, gnnfusion.features.extract as e; "
        "[e.load_kind(k) for k in e.__dict__['load_kind'].__globals__['KINDS']]; "
        "heavy = {'torch', 'librosa', 'av', 'pandas', 'PIL', 'transformers'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
