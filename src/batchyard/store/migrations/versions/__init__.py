"""One module per revision, oldest first: see REVISIONS in `migrate.py`."""
