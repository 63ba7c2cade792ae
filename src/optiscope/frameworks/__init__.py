"""Fronts: where a rule runs. Each module imports its framework when it is itself imported."""
