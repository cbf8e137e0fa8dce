# C types for protocol.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.http1.parser cimport RequestParser
from gserver.http1.stream cimport Http1Stream
from gserver.request cimport Limits
from gserver.transport cimport Transport


cdef class Http1:
    cdef readonly Transport connection
    cdef readonly Http1Stream stream
    cdef readonly bytes early
    cdef Limits _limits
    cdef RequestParser _parser
    cdef bint _awaited
    cdef bint _draining
    cdef Py_ssize_t _requests

    @cython.locals(parser=RequestParser, request=dict, stream=Http1Stream, connection=Transport)
    cpdef receive_data(self, bytes data)
    @cython.locals(parser=RequestParser, early=bytes, connection=Transport)
    cpdef next_request(self)
