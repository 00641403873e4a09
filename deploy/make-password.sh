#!/bin/sh
# Writes a random password to FILE, unless it holds one already. The containers that FILE's volume is mounted into read it,
# each as a separate user.
set -eu
file=${1:?usage: make-password FILE}

if ! [ -s "$file" ]; then
  rm -f "$file.new" # of a start that was killed; it is read-only
  head -c 32 /dev/urandom | base64 >"$file.new"
  chmod 0444 "$file.new"
  mv "$file.new" "$file"
fi
chmod a+rx "$(dirname "$file")"
