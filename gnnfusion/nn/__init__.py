"""The network: encoders of nodes, typed graph layers, a readout head per task."""
