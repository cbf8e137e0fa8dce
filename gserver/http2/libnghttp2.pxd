"""What the binding uses of nghttp2/nghttp2.h."""

from libc.stdint cimport int32_t, uint8_t, uint32_t


cdef extern from "nghttp2/nghttp2.h":
    """
    #if NGHTTP2_VERSION_NUM < 0x013100
    #error "libnghttp2 1.49 or later is needed"
    #endif
    /* 1.61 has the bound, and 8 for it; before that there is none, or one that cannot be moved. */
    #if NGHTTP2_VERSION_NUM >= 0x013d00
    #define set_max_continuations nghttp2_option_set_max_continuations
    #else
    #define set_max_continuations(option, most) ((void)(most))
    #endif
    """
    ctypedef struct nghttp2_session
    ctypedef struct nghttp2_session_callbacks
    ctypedef struct nghttp2_option

    ctypedef struct nghttp2_info:
        const char *version_str

    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags

    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags

    ctypedef struct nghttp2_data:
        size_t padlen

    ctypedef struct nghttp2_headers:
        int cat

    ctypedef struct nghttp2_goaway:
        uint32_t error_code

    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_data data
        nghttp2_headers headers
        nghttp2_goaway goaway

    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value

    ctypedef union nghttp2_data_source:
        void *ptr

    ctypedef struct nghttp2_extpri:
        uint32_t urgency
        int inc

    ctypedef ssize_t (*read_callback)(
        nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *, void *
    ) noexcept

    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        read_callback read_callback

    ctypedef int (*frame_callback)(nghttp2_session *, const nghttp2_frame *, void *) noexcept
    ctypedef int (*begin_frame_callback)(
        nghttp2_session *, const nghttp2_frame_hd *, void *
    ) noexcept
    ctypedef int (*header_callback)(
        nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t, const uint8_t *, size_t,
        uint8_t, void *
    ) noexcept
    ctypedef int (*data_callback)(
        nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *
    ) noexcept
    ctypedef int (*unpack_callback)(
        nghttp2_session *, void **, const nghttp2_frame_hd *, void *
    ) noexcept
    ctypedef int (*chunk_callback)(
        nghttp2_session *, const nghttp2_frame_hd *, const uint8_t *, size_t, void *
    ) noexcept
    ctypedef int (*close_callback)(nghttp2_session *, int32_t, uint32_t, void *) noexcept

    nghttp2_info *nghttp2_version(int)
    const char *nghttp2_strerror(int)

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(
        nghttp2_session_callbacks *, begin_frame_callback)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(
        nghttp2_session_callbacks *, frame_callback)
    void nghttp2_session_callbacks_set_on_header_callback(
        nghttp2_session_callbacks *, header_callback)
    void nghttp2_session_callbacks_set_on_invalid_header_callback(
        nghttp2_session_callbacks *, header_callback)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(
        nghttp2_session_callbacks *, frame_callback)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        nghttp2_session_callbacks *, data_callback)
    void nghttp2_session_callbacks_set_on_frame_send_callback(
        nghttp2_session_callbacks *, frame_callback)
    void nghttp2_session_callbacks_set_on_stream_close_callback(
        nghttp2_session_callbacks *, close_callback)
    void nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(
        nghttp2_session_callbacks *, chunk_callback)
    void nghttp2_session_callbacks_set_unpack_extension_callback(
        nghttp2_session_callbacks *, unpack_callback)

    int nghttp2_option_new(nghttp2_option **)
    void nghttp2_option_del(nghttp2_option *)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option *, int)
    void nghttp2_option_set_user_recv_extension_type(nghttp2_option *, uint8_t)
    void set_max_continuations(nghttp2_option *, size_t)
    void nghttp2_option_set_max_deflate_dynamic_table_size(nghttp2_option *, size_t)

    int nghttp2_session_server_new2(
        nghttp2_session **, nghttp2_session_callbacks *, void *, nghttp2_option *)
    void nghttp2_session_del(nghttp2_session *)
    ssize_t nghttp2_session_mem_recv(nghttp2_session *, const uint8_t *, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session *, const uint8_t **)
    size_t nghttp2_session_get_outbound_queue_size(nghttp2_session *)
    int nghttp2_session_upgrade2(nghttp2_session *, const uint8_t *, size_t, int, void *)
    int nghttp2_session_terminate_session(nghttp2_session *, uint32_t)
    int nghttp2_session_consume_connection(nghttp2_session *, size_t)
    int nghttp2_session_consume_stream(nghttp2_session *, int32_t, size_t)
    int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *)
    uint32_t nghttp2_session_get_next_stream_id(nghttp2_session *)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int)
    int nghttp2_session_resume_data(nghttp2_session *, int32_t)
    int nghttp2_session_change_extpri_stream_priority(
        nghttp2_session *, int32_t, nghttp2_extpri *, int)

    int nghttp2_submit_settings(
        nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t)
    int nghttp2_submit_response(
        nghttp2_session *, int32_t, const nghttp2_nv *, size_t, const nghttp2_data_provider *)
    int32_t nghttp2_submit_headers(
        nghttp2_session *, uint8_t, int32_t, const void *, const nghttp2_nv *, size_t, void *)
    int nghttp2_submit_trailer(nghttp2_session *, int32_t, const nghttp2_nv *, size_t)
    int32_t nghttp2_submit_push_promise(
        nghttp2_session *, uint8_t, int32_t, const nghttp2_nv *, size_t, void *)
    int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *)
    int nghttp2_submit_goaway(
        nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t)
    int nghttp2_submit_shutdown_notice(nghttp2_session *)
