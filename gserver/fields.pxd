# C types for fields.py, for when it is compiled; see docs/architecture.rst.


cdef class FieldCache:
    cdef readonly dict known
    cdef object _encode
