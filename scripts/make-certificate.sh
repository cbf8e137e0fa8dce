#!/bin/sh
# Make a self-signed certificate for localhost, unless a good one is there: make-certificate.sh CERTIFICATE KEY
set -eu
certificate=$1
key=$2

if ! command -v openssl >/dev/null 2>&1; then
    "$(dirname "$0")"/install-debian-packages.sh openssl
    if ! command -v openssl >/dev/null 2>&1; then
        echo "There is no openssl here, which makes the certificate for HTTPS. On Debian and Ubuntu: sudo apt-get install openssl" >&2
        exit 1
    fi
fi

# A day left is enough for a session of trying things out.
if [ -s "$key" ] && openssl x509 -in "$certificate" -noout -checkend 86400 >/dev/null 2>&1; then
    exit 0
fi

mkdir -p "$(dirname "$certificate")" "$(dirname "$key")"
umask 077 # The key is nobody else's business.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' \
    -keyout "$key" -out "$certificate" 2>/dev/null
echo "Made $certificate, self-signed, for localhost"
