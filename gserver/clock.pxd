# C types for clock.py, for when it is compiled; see docs/architecture.rst.


cdef class Clock:
    cdef readonly double now
    cdef readonly bytes date
    cdef readonly bytes server
    cdef readonly bytes head_end
    cdef readonly list fields
    cdef readonly set watched
    cdef list _server_fields
    cdef double _period
    cdef object _hub
    cdef dict _alarms
    cdef object _second
    cdef object _timer

    cpdef park(self, double deadline, error)


cdef class Patience:
    cdef double _timeout
    cdef double _rate
    cdef readonly double left

    cpdef waited(self, double seconds)
    cpdef received(self, Py_ssize_t size)
