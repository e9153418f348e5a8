"""AWS Batch on machines you own."""
