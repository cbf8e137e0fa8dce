# Bytes objects that are filled where they are, and then cut to their size: for the .pyx modules.


cdef extern from "Python.h":
    ctypedef struct PyObject
    # Of an object that nobody else has seen yet, which Cython's own types cannot express.
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *as_string "PyBytes_AS_STRING"(PyObject *)
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    void Py_DECREF(PyObject *)


cdef inline object finish(PyObject *output, Py_ssize_t size):
    """Return the object, which so far has one owner, cut to its size."""
    _PyBytes_Resize(&output, size)
    result = <object>output
    Py_DECREF(output)
    return result
