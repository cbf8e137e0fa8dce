"""A certificate for the TLS scenario, made for one run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from errors import Failed
from servers import Certificate


def make(folder: Path) -> Certificate:
    """Make a self-signed certificate with an elliptic key, as most sites have.

    Raises:
        Failed: There is no openssl, or it failed.
    """
    certificate = Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-keyout", certificate.keyfile, "-out", certificate.certfile]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"no certificate could be made: {error}") from error
    return certificate
