"""Training, evaluation and prediction; nothing is imported before it is used."""
