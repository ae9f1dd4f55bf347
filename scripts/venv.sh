# Sourced by the scripts beside it: the repository's root, and virtual environments in it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }

# The first Python that is new enough; PYTHON=... chooses another.
find_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "Python 3.11 or newer is needed (PYTHON=/path/to/python3 names one)." >&2
    return 1
}

# make_venv DIR: a virtual environment in the root; sets $venv_python. Kept if it works.
make_venv() {
    local python
    venv_python=$root/$1/bin/python
    if ! "$venv_python" -c 'import pip' >/dev/null 2>&1; then
        python=$(find_python)
        echo "making $1 with $("$python" --version)"
        rm -rf "${root:?}/$1"
        "$python" -m venv "$root/$1" || {
            echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
            return 1
        }
    fi
}

# install ARG...: pip install into $venv_python, quietly and without questions.
install() {
    "$venv_python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

# group NAME: the requirements of a [dependency-groups] entry, one a line.
# (pip before 25.1 has no --group.)
group() {
    "$venv_python" - "$root/pyproject.toml" "$1" <<'PY'
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    print("\n".join(tomllib.load(file)["dependency-groups"][sys.argv[2]]))
PY
}

# install_for_work GROUP...: the package in place (editable) and the groups; skipped while
# pyproject.toml and the Python are those of the last time.
install_for_work() {
    local stamp wanted name
    local requirements=()
    stamp=$(dirname "$venv_python")/../.installed
    wanted="$root $* $("$venv_python" --version) $(cksum <"$root/pyproject.toml")"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    for name in "$@"; do
        while IFS= read -r line; do requirements+=("$line"); done < <(group "$name")
    done
    echo "installing the package and the tools of: $*"
    install --editable "$root" "${requirements[@]}"
    printf '%s' "$wanted" >"$stamp"
}
