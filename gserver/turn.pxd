# C types for turn.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.transport cimport Transport


cdef class Turn:
    cdef object _hub
    cdef list _packets

    @cython.locals(packets=list, transport=Transport)
    cpdef _hand_over(self)
    cdef hold(self, Transport transport, bytes data)
