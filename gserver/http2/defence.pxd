# C types for defence.py, for when it is compiled; see docs/architecture.rst.

from gserver.clock cimport Clock


cdef class Defence:
    cdef public double earned
    cdef public bint pressed
    cdef Clock _clock
    cdef double _most_frames, _most_resets, _frames, _resets, _filled

    cpdef sent(self, Py_ssize_t size)
    cpdef received(self, Py_ssize_t size)
    cdef _fill(self)
