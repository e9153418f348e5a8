"""Where containers run. `port` is what a backend is asked to do; each folder beside it is one
backend."""
