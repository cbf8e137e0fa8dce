# C types for tunnel.py, for when it is compiled; see docs/architecture.rst.

from gserver.transport cimport Transport


cdef class Tunnel:
    cdef Transport _connection
    cdef bytes _early
    cdef list _waiting
    cdef Py_ssize_t _size
    cdef object _receiver
    cdef bint _draining
    cdef bint _paused
    cdef bint _finishing
    cdef int _small

    cpdef write(self, bytes data)
    cpdef receive_data(self, bytes data)
