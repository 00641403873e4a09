#!/bin/sh
# Sees to Prometheus and Alertmanager, with promtool and amtool, and to what only tests ask for: VictoriaMetrics,
# curl, kubectl, and QEMU's user mode with libfaketime, by which servers run at another time. What is on the PATH is used as it is; else Debian's packages are installed (as root) or unpacked
# into FOLDER (otherwise).
set -eu
tools=${1:?usage: install-servers.sh FOLDER}
mkdir -p "$tools"
PATH=$PATH:$(cd "$tools" && pwd)/usr/bin

has() { command -v "$1" >/dev/null 2>&1; }
has_prometheus() { has prometheus && has promtool; }
# Debian calls the server prometheus-alertmanager.
has_faketime() {
  for library in /usr/lib/*/faketime/libfaketimeMT.so.1 "$tools"/usr/lib/*/faketime/libfaketimeMT.so.1; do
    [ ! -e "$library" ] || return 0
  done
  return 1
}
has_alertmanager() { { has alertmanager || has prometheus-alertmanager; } && has amtool; }

packages=
has_prometheus || packages="prometheus"
has_alertmanager || packages="$packages prometheus-alertmanager"
if has apt-get && has dpkg; then
  has victoria-metrics || packages="$packages victoria-metrics"
  has curl || packages="$packages curl"
  has kubectl || packages="$packages kubernetes-client"
  has "qemu-$(uname -m)" || packages="$packages qemu-user"
  has_faketime || packages="$packages libfaketime"
fi
[ -n "$packages" ] || exit 0

if ! has apt-get || ! has dpkg; then
  echo "make: put these on the PATH, they are missing here: $packages (with promtool and amtool)." >&2
  exit 1
fi

if [ "$(id -u)" = 0 ]; then
  echo "Installing Debian's $packages (no service is started)"
  # A package's service must neither start now nor at the next boot: the demo starts its own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of package names
  apt-get install -qq -y --no-install-recommends $packages >/dev/null
  if has systemctl; then
    # shellcheck disable=SC2086
    systemctl disable $packages >/dev/null 2>&1 || echo "note: could not disable the services of $packages" >&2
  fi
else
  echo "Unpacking Debian's $packages into $tools (nothing is installed)"
  for package in $packages; do
    rm -f "$tools/$package"_*.deb
    if ! (cd "$tools" && apt-get download -qq "$package"); then
      echo "make: cannot fetch Debian's $package. If its lists are empty, run apt-get update as root once." >&2
      exit 1
    fi
    dpkg -x "$tools/$package"_*.deb "$tools"
    rm -f "$tools/$package"_*.deb
  done
fi

if ! has_prometheus || ! has_alertmanager; then
  echo "make: prometheus, promtool, alertmanager and amtool are still not all found." >&2
  exit 1
fi
