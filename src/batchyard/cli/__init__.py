"""The operator's front door, and the only place that puts parts together."""
