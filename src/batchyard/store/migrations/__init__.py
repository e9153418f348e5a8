"""Alembic's folder: `env.py` and one module per revision. Nothing here is imported by our code."""
