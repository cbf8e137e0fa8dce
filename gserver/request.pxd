# C types for request.py, for when it is compiled; see docs/architecture.rst.


cdef class Limits:
    cdef readonly Py_ssize_t head, line, field, fields, small
    cdef readonly object body
    cdef readonly object header_map
    cdef readonly double keepalive
    cdef readonly bint upgrade
    cdef public Py_ssize_t requests
