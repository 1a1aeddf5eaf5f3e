#!/usr/bin/env bash
# Try the lower bounds of pyproject.toml: the quick tests with the oldest release of every direct dependency and
# extra. PYTHON names the interpreter, the wheel is the first argument, tests may follow.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-$PWD/.venv/bin/uv}
wheel=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$uv" venv --quiet --python "${PYTHON:-python3.10}" "$scratch/venv"
python="$scratch/venv/bin/python"
# Old releases of what the package needs, new ones of what those need, and of the test tools.
"$uv" pip compile --quiet --python "$python" --resolution lowest-direct --all-extras --no-header \
    --annotation-style line pyproject.toml | sed -n 's/ *# via.*(pyproject.toml).*//p' >"$scratch/lowest.txt"
cat "$scratch/lowest.txt"
"$uv" pip install --quiet --python "$python" --constraints "$scratch/lowest.txt" \
    "$wheel[delta,emulator,openlineage,s3]" --group test
"$python" -m pytest --quiet --numprocesses logical --maxprocesses 4 --dist worksteal -m "not slow" "${@:-tests}"
