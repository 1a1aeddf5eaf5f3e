#!/bin/sh
# Make a virtual environment at $1, if there is none, with $PYTHON or else the newest Python that Airflow supports.
set -eu

supported='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'

if [ -x "$1/bin/python" ] && "$1/bin/python" -c "$supported" 2>/dev/null; then
    exit 0
fi

# A name found on the PATH may be a version manager's stub that does not run, so each is tried.
for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3.14 python3 python}; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c "$supported" >/dev/null 2>&1; then
        echo "Making $1 with $("$name" --version) ..."
        exec "$name" -m venv --clear "$1"
    fi
done

echo "No suitable Python was found: 3.10 to 3.14 with its venv module is needed." >&2
echo "Install one (on Debian or Ubuntu: apt-get install python3 python3-venv) and run make again." >&2
exit 1
