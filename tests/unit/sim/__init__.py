"""Tests of time that is ours."""
