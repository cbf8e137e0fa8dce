# C types for offer.py, for when it is compiled; see docs/architecture.rst.

from gserver.websocket.blocking cimport WebSocket


cdef class Offer:
    cdef object _server
    cdef object _request
    cdef dict _environ
    cdef object _handler
    cdef object _subprotocol
    cdef object _token
    cdef bint _confirmed
    cdef list _headers
    cdef object _socket
    cdef object _code
    cdef bint _cut
    cdef readonly WebSocket websocket

    cpdef conclude(self)
    cdef _run(self, object handler)
