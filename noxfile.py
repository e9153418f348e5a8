"""Every check and test of batchyard, under one command.

`nox` runs all checks, then all tests in one pytest run: tests that start containers or servers are
in four groups, each of which takes a worker until it is through, while the rest share the other
workers (see tests/conftest.py). These mostly wait, so two cores can do with four.
`nox -s unit` (or any room) runs one room alone; what follows `--` goes to pytest.

Sessions make no environments of their own: they run in the one that tools/bootstrap.sh made from
uv.lock, so they need no network and a second run starts at once.
"""

import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent

# The programs of the environment nox itself lives in come first, activated or not; the sbin
# folders, where runc lives, come last because ordinary users lack them.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
)


#: The folders of tests/, each a session of its own, and what they prove. None may lose its tests.
ROOMS = {
    "unit": "The pure rooms, in milliseconds.",
    "simulation": "The whole engine, under faults drawn from a seed.",
    "property": "What must hold for any input: hypothesis.",
    "validation": "What simulations say, beside what others say of the same jobs.",
    "wire": "Bytes as AWS's clients send and read them.",
    "api": "One function per operation: what it accepts, refuses and answers.",
    "store": "Records, on SQLite and PostgreSQL.",
    "logs": "Output in, CloudWatch Logs out.",
    "engine": "The live loop over a real store and the backend's twin.",
    "ports": "One suite per port, against the real thing and its twin.",
    "compute": "Containers of this machine, with everything that can happen to them.",
    "e2e": "A real server, real containers, real clients.",
    "crash": "Killed anywhere, started again, compared.",
    "testing": "The test kit, as its users use it.",
    "tidy": "The project's own checks find what they are made to find.",
}

#: These start containers, servers or databases, and share this machine badly.
SERIAL = ("ports", "compute", "e2e", "crash")

#: Beyond this more workers only wait for the serial rooms.
WORKER_COUNT_MAX = 8

nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "layers", "tidy", "docs", "tests"]


def run(session: nox.Session, *command: str, **env: str) -> None:
    """Run a program of nox's own environment from the repository's root."""
    session.chdir(ROOT)
    session.run(*command, external=True, env=env)


def test_files(room: str) -> list[Path]:
    """List the test files of one folder of tests/, wherever they lie in it."""
    return sorted((ROOT / "tests" / room).rglob("test_*.py"))


def run_pytest(session: nox.Session, *arguments: str, **env: str) -> None:
    if os.geteuid() != 0 and not session.posargs:
        session.log("not root: tests that start containers skip themselves (sudo make test)")
    run(session, "python", "-m", "pytest", *arguments, *session.posargs, **env)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes: ruff."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict."""
    run(session, "mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Which room may import which: import-linter."""
    run(session, "lint-imports")


@nox.session
def tidy(session: nox.Session) -> None:
    """What the other tools cannot see: sizes, module heads, order in the pure rooms."""
    run(session, "python", "-m", "tools.tidy")


@nox.session
def docs(session: nox.Session) -> None:
    """Links between the pages of this repository lead somewhere."""
    run(session, "python", "-m", "tools.tidy", "--only", "dead-link")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests in one run."""
    gone = [room for room in ROOMS if not test_files(room)]
    if gone:
        session.error(f"no tests any more in: {', '.join(f'tests/{room}' for room in gone)}")
    worker_count = max(4, min(os.cpu_count() or 4, WORKER_COUNT_MAX))
    run_pytest(
        session, "tests", "-n", str(worker_count), "--dist", "loadgroup", "-m", "not nightly"
    )


def add_room(room: str, what: str) -> None:
    """Make a session that runs one folder of tests/."""

    def run_room(session: nox.Session) -> None:
        if not test_files(room):
            session.error(f"tests/{room} holds no tests")
        workers = ("-n", "0") if room in SERIAL else ("-n", "2", "--dist", "loadgroup")
        run_pytest(session, f"tests/{room}", *workers, "-m", "not nightly")

    run_room.__doc__ = what
    nox.session(name=room if room != "tidy" else "tidy-tests")(run_room)


for _room, _what in ROOMS.items():
    add_room(_room, _what)


@nox.session
def nightly(session: nox.Session) -> None:
    """Everything, with as many examples as a night holds."""
    everything = ("tests", "-n", "auto", "--dist", "loadgroup", "--timeout", "0")
    run_pytest(session, *everything, HYPOTHESIS_PROFILE="nightly")
    jobs = str(os.cpu_count() or 1)
    run(session, "python", "-m", "tests.simulation", "--seeds", "100000", "--jobs", jobs)


@nox.session
def bench(session: nox.Session) -> None:
    """The named experiments in bench/."""
    if not (ROOT / "bench" / "__main__.py").exists():
        session.error("there are no experiments yet (bench/__main__.py)")
    run(session, "python", "-m", "bench", *session.posargs)
