# C types for transport.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.clock cimport Clock
from gserver.turn cimport Turn


cdef int _STREAK
cdef Py_ssize_t _GATHER, _COPIED


cdef class Transport:
    cdef readonly object config
    cdef readonly Clock clock
    cdef public object dispatch
    cdef public object protocol
    cdef public double deadline
    cdef readonly tuple remote
    cdef readonly bint reading
    cdef public bint held
    cdef Turn _turn
    cdef public Py_ssize_t packet
    cdef readonly bint blocked
    cdef object _unsent
    cdef readonly bint closed
    cdef readonly object tls
    cdef object _released
    cdef readonly object hub
    cdef object _socket
    cdef int _descriptor
    cdef object _calls
    cdef object _receive
    cdef object _send
    cdef object _writable
    cdef object _sending
    cdef object _receiving
    cdef int _streak
    cdef double _turn_end
    cdef object _watcher

    cpdef hand_over(self, bytes data)
    cpdef end_turn(self)
    @cython.locals(sent=Py_ssize_t)
    cpdef send(self, bytes data)
    cpdef send_block(self, bytes data)
    cdef _rest_from_sending(self)
    @cython.locals(size=Py_ssize_t, piece=bytes)
    cpdef send_pieces(self, list pieces)
    @cython.locals(piece=bytes, sent=Py_ssize_t)
    cdef _gather(self, list pieces)
    cpdef pause_reading(self)
    cpdef resume_reading(self)
