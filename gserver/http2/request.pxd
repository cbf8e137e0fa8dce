# C types for request.py, for when it is compiled; see docs/architecture.rst.

cimport cython

from gserver.request cimport Limits

cdef int _COLON
cdef set _GOOD_HOSTS
cdef dict _GOOD_PATHS
cdef dict _NAMES
cdef dict _METHODS


@cython.locals(
    environ=dict, name=bytes, value=bytes, key=str, text=str, longest=Py_ssize_t,
    dropped=Py_ssize_t, known=Py_ssize_t,
)
cpdef dict build_environ(list fields, dict template, Limits limits)
cdef _take_pseudo(dict environ, bytes name, bytes value, Limits limits)
@cython.locals(path=str)
cdef _take_path(dict environ, bytes value, Limits limits)
