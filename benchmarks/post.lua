-- The body of the echo scenario: apps.echo sends it back.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 1024)
