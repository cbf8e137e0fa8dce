#!/bin/sh
# Build libnghttp2 into a folder of its own: build-nghttp2.sh PREFIX
# For wheels that carry it: the distributions on which those are built have none, or an old one.
# Needs curl, tar, make and a C compiler. pkg-config finds it with PKG_CONFIG_PATH=PREFIX/lib/pkgconfig
set -eu
prefix=$1

# The release's own tarball, which has a configure script. Its digest is the same at Homebrew
# (libnghttp2.rb) and at Debian (nghttp2 1.70.0-1, whose index is signed).
version=1.70.0
sha256=aa317e2cf9dca6afa0aed68f8fad6ff303ec6982e25a78c75c0b65e2b9b3ded5
name=nghttp2-$version

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"

url=https://github.com/nghttp2/nghttp2/releases/download/v$version/$name.tar.gz
curl --fail --silent --show-error --location --proto '=https' --retry 3 --output "$name.tar.gz" "$url"
if command -v sha256sum >/dev/null 2>&1; then
    echo "$sha256  $name.tar.gz" | sha256sum -c -
else
    echo "$sha256  $name.tar.gz" | shasum -a 256 -c - # macOS
fi
tar -xzf "$name.tar.gz"
cd "$name"

echo "Building libnghttp2 $version into $prefix"
# Without -g, which is configure's own choice: wheels would carry the tables for a debugger along.
./configure --quiet --prefix="$prefix" --libdir="$prefix/lib" --enable-lib-only \
    --enable-shared --disable-static --disable-dependency-tracking CFLAGS="-O2 ${CFLAGS:-}"
make --silent -C lib -j2 install >/dev/null
# Whoever hands the library on hands on its licence.
cp COPYING "$prefix/COPYING"
