# C types for tunnel.py, for when it is compiled; see docs/architecture.rst.

from gserver.http2.protocol cimport Http2
from gserver.http2.stream cimport Http2Stream


cdef class Http2Tunnel:
    cdef readonly object id
    cdef Http2Stream _stream
    cdef Http2 _protocol
    cdef object _engine
    cdef object _receiver
    cdef list _chunks
    cdef bint _ended
    cdef bint _told
    cdef bint _widened
    cdef bint _paused
    cdef bint _finishing
