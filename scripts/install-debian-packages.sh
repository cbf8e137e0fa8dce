#!/bin/sh
# Install the named Debian packages that are missing, where that is possible: as root, with apt.
# Elsewhere say which are missing and go on: what needs them says so itself.
# No service is started by it: the tests run their own.
set -eu

command -v dpkg-query >/dev/null 2>&1 || exit 0

missing=
for package in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed:$missing. What needs them will be left out; to have them: sudo apt-get install$missing" >&2
    exit 0
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # Package names hold no spaces.
if ! { apt-get -qq update && apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends $missing >/dev/null; }; then
    echo "Could not install:$missing. What needs them will be left out." >&2
    # A build server must not pass because half of the tests were left out.
    [ -z "${CI:-}" ] || exit 1
fi
