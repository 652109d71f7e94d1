"""Settings of a training as plain values."""

from gnnfusion.nn.config import NetworkConfig
from gnnfusion.training.config import TrainConfig


def test_what_is_changed_names_no_default():
    config = TrainConfig(lr=0.5, network=NetworkConfig(width=8))
    assert TrainConfig().changed() == {"network": {}}
    assert config.changed() == {"lr": 0.5, "network": {"width": 8}}
    assert TrainConfig.from_dict(config.changed()) == config
