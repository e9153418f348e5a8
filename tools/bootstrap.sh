#!/bin/sh
# Make this machine ready for batchyard: system programs by apt, Python packages by uv.
#
#   sh tools/bootstrap.sh            everything: runtime and test
#   sh tools/bootstrap.sh runtime    what `batchyard up` needs
#   sh tools/bootstrap.sh test       runtime, and what the tests need
#
# Needs Python 3.11 or later and, where something is missing, apt (as root or with sudo). Looks
# before it acts: when all is in place it changes nothing and needs no network.
#
# Settings: BATCHYARD_PYTHON  the Python to use (default: the first suitable one on PATH).
set -eu

UV_VERSION=0.13.8      # what uv.lock was written with
UV_OLDEST=0.9.0        # the oldest uv on PATH that we trust to read it
PYTHON_OLDEST=3.11

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# Ordinary users often lack the sbin folders, where runc and iptables live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf '  %s\n' "$*"; }
note() { printf '  note: %s\n' "$*" >&2; }
die() {
    printf 'bootstrap: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# ── system programs ──────────────────────────────────────────────────────────────────────

has_busybox() { has busybox; }
has_postgres() {
    has initdb && return 0
    for found in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$found" ] && return 0
    done
    return 1
}
has_mpi4py() { /usr/bin/python3 -c 'import mpi4py' >/dev/null 2>&1; }
has_catatonit() { has catatonit || [ -x /usr/libexec/podman/catatonit ]; }
has_tini() { has tini-static || has tini; }

# Prints the packages of a group that are missing, one a line.
missing_packages() {
    has skopeo || echo skopeo
    has make || echo make
    has_busybox || echo busybox-static
    case $1 in
        runtime) has crun || has runc || echo crun ;;
        test)
            has crun || echo crun
            has runc || echo runc
            # The tests start a server of their own on a socket in a temporary folder.
            has_postgres || echo postgresql
            # For jobs of several nodes: Open MPI and its Python, and a server of ssh that comes
            # without a service (openssh-server would start one).
            has mpirun || echo openmpi-bin
            has_mpi4py || echo python3-mpi4py
            has dropbear || echo dropbear-bin
            # Any dockerd does, the distribution's or Docker's own; and so does any podman.
            has dockerd || echo docker.io
            has podman || echo podman
            has_catatonit || echo catatonit
            ;;
    esac
}

# Runs its arguments as root; how was settled by need_apt.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs apt-get without questions. `env` carries the setting through sudo.
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# What Debian's packages ask before they start a service (policy-rc.d(8)): 101 is no. The tests
# start engines of their own, and one that we brought must not run beside them, nor change the
# firewall of a machine whose owner did not ask for it. An owner's own policy is left alone.
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
forbid_services() {
    [ -e "$policy" ] && return 0
    policy_is_ours=yes
    trap allow_services EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
allow_services() {
    if [ "$policy_is_ours" = yes ]; then
        as_root rm -f "$policy"
        policy_is_ours=no
        trap - EXIT INT TERM
    fi
}

# Nor shall it start with the machine; who wants Docker as a service enables it.
disable_docker() {
    has systemctl || return 0
    as_root systemctl --quiet disable docker.service docker.socket containerd.service \
        >/dev/null 2>&1 || note "Docker may start with this machine: systemctl disable docker"
}

need_apt() {
    has apt-get || die "this machine has no apt, and something is missing." \
        "Install these with your package manager, then run this again:" "$*"
    [ "$(id -u)" -eq 0 ] || has sudo ||
        die "something is missing, and you are neither root nor is sudo here." \
            "Ask an administrator for: apt-get install --no-install-recommends $*"
}

apt_updated=no
apt_install() {
    need_apt "$@"
    log=$(mktemp)
    if [ "$apt_updated" = no ]; then
        say "reading package lists (apt-get update)"
        # A broken third-party source must not stop us while Debian's own lists are there.
        apt_get update >"$log" 2>&1 || note "apt-get update had trouble: $(tail -n 1 "$log")"
        apt_updated=yes
    fi
    say "installing $*"
    forbid_services
    if ! apt_get install --no-install-recommends "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get install failed (its last lines are above)." "Wanted: $*"
    fi
    allow_services
    case " $* " in *" docker.io "*) disable_docker ;; esac
    rm -f "$log"
}

# A static init for containers that ask for one. Nothing else needs it, so a machine that cannot
# get it is told once and goes on.
install_tini() {
    if has_tini || [ -e .tools/no-tini ] || ! has apt-get; then return 0; fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then return 0; fi
    if apt_get install --no-install-recommends tini >/dev/null 2>&1; then
        say "installed tini"
    else
        mkdir -p .tools
        : >.tools/no-tini
        note "tini is not to be had here; going on without (forget this: rm .tools/no-tini)"
    fi
}

system_programs() {
    missing=$(missing_packages "$1")
    # shellcheck disable=SC2086  # one word per package is what we want
    if [ -n "$missing" ]; then apt_install $missing; fi
    install_tini
    missing=$(missing_packages "$1")
    # shellcheck disable=SC2086
    [ -z "$missing" ] || die "still missing after the installation:" $missing
    say "system programs: ready"
}

# ── Python ───────────────────────────────────────────────────────────────────────────────

is_new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < (${PYTHON_OLDEST%.*}, ${PYTHON_OLDEST#*.}))" \
        >/dev/null 2>&1
}

find_python() {
    for candidate in ${BATCHYARD_PYTHON:-} .venv/bin/python python3 python3.11 python3.12 \
        python3.13 python3.14; do
        if has "$candidate" && is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints what the environment must have been made from; equal text means it is current. Of
# pyproject.toml only what installs counts: a new lint rule must not ask for the network.
wanted_stamp() {
    # shellcheck disable=SC2016  # Python, not shell
    "$python" -c '
import hashlib, json, pathlib, sys, tomllib
settings = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
tools = settings.get("tool", {})
installs = [settings.get(key) for key in ("build-system", "project", "dependency-groups")]
installs += [tools.get(key) for key in ("hatch", "uv")]
content = hashlib.sha256(json.dumps(installs, sort_keys=True).encode())
content.update(pathlib.Path("uv.lock").read_bytes())
print(sys.argv[1], "python%d.%d" % sys.version_info[:2], pathlib.Path.cwd(), content.hexdigest())
' "$1"
}

is_current() {
    [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || return 1
    [ -r .venv/batchyard-stamp ] || return 1
    stamp=$(cat .venv/batchyard-stamp)
    # An environment for the tests serves for running, too.
    [ "$stamp" = "$(wanted_stamp test)" ] && return 0
    [ "$1" = runtime ] && [ "$stamp" = "$(wanted_stamp runtime)" ]
}

has_recent_uv() {
    has uv || return 1
    uv --version 2>/dev/null | "$python" -c "
import re, sys
number = lambda text: tuple(int(part) for part in re.findall(r'[0-9]+', text)[:3])
sys.exit(number(sys.stdin.read()) < number('$UV_OLDEST'))"
}

find_uv() {
    if has_recent_uv; then
        uv=$(command -v uv)
        return 0
    fi
    uv=$root/.tools/uv-$UV_VERSION/bin/uv
    [ -x "$uv" ] && return 0
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module
    say "fetching uv $UV_VERSION into .tools/"
    "$python" -m venv --clear ".tools/uv-$UV_VERSION"
    ".tools/uv-$UV_VERSION/bin/pip" install --quiet --disable-pip-version-check \
        "uv==$UV_VERSION" || die "pip could not fetch uv; is the network there?"
}

# Debian ships ensurepip apart from Python.
install_venv_module() {
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments (no ensurepip)." \
            "Install its venv package, or name another Python in BATCHYARD_PYTHON."
}

python_packages() {
    python=$(find_python) || die "no Python $PYTHON_OLDEST or later found." \
        "Debian 12, Ubuntu 24.04 and later have one: apt-get install python3" \
        "Or name one: BATCHYARD_PYTHON=/path/to/python3.12 sh tools/bootstrap.sh"
    if is_current "$1"; then
        say "Python packages: ready"
        return 0
    fi
    find_uv
    say "installing the Python packages of uv.lock into .venv/"
    # uv brings its own certificates; a site that gave pip others means them for uv, too.
    if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
        SSL_CERT_FILE=$PIP_CERT
        export SSL_CERT_FILE
    fi
    # --inexact: preparing to run must not take the tests' packages away.
    case $1 in
        runtime) groups="--no-dev --inexact" ;;
        *) groups="" ;;
    esac
    rm -f .venv/batchyard-stamp
    # shellcheck disable=SC2086  # no groups means no argument
    env -u VIRTUAL_ENV -u UV_PROJECT_ENVIRONMENT UV_PYTHON_DOWNLOADS=never \
        "$uv" sync --quiet --frozen --all-extras --python "$python" $groups ||
        die "uv sync failed (its message is above)."
    python=$root/.venv/bin/python
    wanted_stamp "$1" >.venv/batchyard-stamp
    say "Python packages: ready ($("$python" --version))"
}

# ── what was asked for ───────────────────────────────────────────────────────────────────

group=${1:-test}
case $group in
    runtime | test) ;;
    all) group=test ;;
    *) die "unknown group '$group'." "Usage: sh tools/bootstrap.sh [runtime|test]" ;;
esac
[ "$(uname -s)" = Linux ] || die "batchyard starts containers itself and needs Linux for that." \
    "On other systems run it in a Linux virtual machine."

system_programs "$group"
python_packages "$group"
