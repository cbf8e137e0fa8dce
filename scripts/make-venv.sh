#!/bin/sh
# Make a virtual environment: make-venv.sh PYTHON FOLDER. On Debian, install what Python lacks for it.
set -eu
python=$1
folder=$2

advice='Install Python 3.10 or later, or name the one to use: make PYTHON=python3.12'
if ! version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
    echo "There is no working $python here. $advice" >&2
    exit 1
fi
case $version in
2.* | 3.[0-9])
    echo "$python is Python $version. $advice" >&2
    exit 1
    ;;
esac

# Debian keeps ensurepip, without which venv makes no pip, in a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=python3-venv
    [ "$python" = python3 ] || package=python$version-venv
    "$(dirname "$0")"/install-debian-packages.sh "$package"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install $package" >&2
        exit 1
    fi
fi

# gserver runs without its compiled modules, only slower.
header=$("$python" -c 'import os, sysconfig; print(os.path.join(sysconfig.get_path("include"), "Python.h"))')
if ! command -v cc >/dev/null 2>&1 || [ ! -e "$header" ]; then
    package=python3-dev
    [ "$python" = python3 ] || package=python$version-dev
    "$(dirname "$0")"/install-debian-packages.sh gcc libc6-dev "$package"
fi

echo "Making $folder with $("$python" --version)"
"$python" -m venv --clear "$folder"
