"""Containers through an engine: Docker, or Podman through the same API.

`backend` is the port; `life` drives tasks; `engine_api` speaks to the engine. `detect` finds one.
"""
