"""The blocking WebSocket, over HTTP/1.1 and HTTP/2 alike; its first release is still to come."""
