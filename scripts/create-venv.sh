#!/bin/sh
# Creates or updates the virtual environment FOLDER with the project, its demo and its development tools.
# PYTHON names the interpreter; without it the first of 3.11 or newer on the PATH is taken.
set -eu
venv=${1:?usage: create-venv.sh FOLDER}

is_new_enough() {
  command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "make: Python 3.11 or newer is needed (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11})." >&2
  exit 1
}

if [ ! -x "$venv/bin/python" ] || ! is_new_enough "$venv/bin/python"; then
  python=$(find_python)
  # Debian splits these from python3; without ensurepip the module makes a half-finished folder.
  if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "make: $python has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  fi
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

# The dev tools are a dependency group; pip reads groups from 25.1 on.
"$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --editable . --editable ./demo --group dev
