package xenabi

import (
	"errors"
	"strconv"
)

// Errno is an error number of the hypercall interface (errno.h, XEN_E*),
// positive. A hypercall returns it negated: see Result. Zero is not an error
// and never put into an error value.
type Errno int64

// The error numbers that a guest may see (errno.h).
const (
	EPERM         Errno = 1   // operation not permitted
	ENOENT        Errno = 2   // no such file or directory
	ESRCH         Errno = 3   // no such process
	EIO           Errno = 5   // i/O error
	ENXIO         Errno = 6   // no such device or address
	E2BIG         Errno = 7   // arg list too long
	ENOEXEC       Errno = 8   // exec format error
	EBADF         Errno = 9   // bad file number
	ECHILD        Errno = 10  // no child processes
	EAGAIN        Errno = 11  // try again
	ENOMEM        Errno = 12  // out of memory
	EACCES        Errno = 13  // permission denied
	EFAULT        Errno = 14  // bad address
	EBUSY         Errno = 16  // device or resource busy
	EEXIST        Errno = 17  // file exists
	EXDEV         Errno = 18  // cross-device link
	ENODEV        Errno = 19  // no such device
	ENOTDIR       Errno = 20  // not a directory
	EISDIR        Errno = 21  // is a directory
	EINVAL        Errno = 22  // invalid argument
	ENFILE        Errno = 23  // file table overflow
	EMFILE        Errno = 24  // too many open files
	ENOSPC        Errno = 28  // no space left on device
	EROFS         Errno = 30  // read-only file system
	EMLINK        Errno = 31  // too many links
	EDOM          Errno = 33  // math argument out of domain of func
	ERANGE        Errno = 34  // math result not representable
	EDEADLK       Errno = 35  // resource deadlock would occur
	ENAMETOOLONG  Errno = 36  // file name too long
	ENOLCK        Errno = 37  // no record locks available
	ENOSYS        Errno = 38  // function not implemented
	ENOTEMPTY     Errno = 39  // directory not empty
	ENODATA       Errno = 61  // no data available
	ETIME         Errno = 62  // timer expired
	EBADMSG       Errno = 74  // not a data message
	EOVERFLOW     Errno = 75  // value too large for defined data type
	EILSEQ        Errno = 84  // illegal byte sequence
	ENOTSOCK      Errno = 88  // socket operation on non-socket
	EMSGSIZE      Errno = 90  // message too large
	EOPNOTSUPP    Errno = 95  // operation not supported on transport endpoint
	EADDRINUSE    Errno = 98  // address already in use
	EADDRNOTAVAIL Errno = 99  // cannot assign requested address
	ENOBUFS       Errno = 105 // no buffer space available
	EISCONN       Errno = 106 // transport endpoint is already connected
	ENOTCONN      Errno = 107 // transport endpoint is not connected
	ETIMEDOUT     Errno = 110 // connection timed out
	ECONNREFUSED  Errno = 111 // connection refused
)

// EWOULDBLOCK is EAGAIN's other name (errno.h).
const EWOULDBLOCK = EAGAIN

var errnoText = [...]string{
	EPERM:         "EPERM: operation not permitted",
	ENOENT:        "ENOENT: no such file or directory",
	ESRCH:         "ESRCH: no such process",
	EIO:           "EIO: i/O error",
	ENXIO:         "ENXIO: no such device or address",
	E2BIG:         "E2BIG: arg list too long",
	ENOEXEC:       "ENOEXEC: exec format error",
	EBADF:         "EBADF: bad file number",
	ECHILD:        "ECHILD: no child processes",
	EAGAIN:        "EAGAIN: try again",
	ENOMEM:        "ENOMEM: out of memory",
	EACCES:        "EACCES: permission denied",
	EFAULT:        "EFAULT: bad address",
	EBUSY:         "EBUSY: device or resource busy",
	EEXIST:        "EEXIST: file exists",
	EXDEV:         "EXDEV: cross-device link",
	ENODEV:        "ENODEV: no such device",
	ENOTDIR:       "ENOTDIR: not a directory",
	EISDIR:        "EISDIR: is a directory",
	EINVAL:        "EINVAL: invalid argument",
	ENFILE:        "ENFILE: file table overflow",
	EMFILE:        "EMFILE: too many open files",
	ENOSPC:        "ENOSPC: no space left on device",
	EROFS:         "EROFS: read-only file system",
	EMLINK:        "EMLINK: too many links",
	EDOM:          "EDOM: math argument out of domain of func",
	ERANGE:        "ERANGE: math result not representable",
	EDEADLK:       "EDEADLK: resource deadlock would occur",
	ENAMETOOLONG:  "ENAMETOOLONG: file name too long",
	ENOLCK:        "ENOLCK: no record locks available",
	ENOSYS:        "ENOSYS: function not implemented",
	ENOTEMPTY:     "ENOTEMPTY: directory not empty",
	ENODATA:       "ENODATA: no data available",
	ETIME:         "ETIME: timer expired",
	EBADMSG:       "EBADMSG: not a data message",
	EOVERFLOW:     "EOVERFLOW: value too large for defined data type",
	EILSEQ:        "EILSEQ: illegal byte sequence",
	ENOTSOCK:      "ENOTSOCK: socket operation on non-socket",
	EMSGSIZE:      "EMSGSIZE: message too large",
	EOPNOTSUPP:    "EOPNOTSUPP: operation not supported on transport endpoint",
	EADDRINUSE:    "EADDRINUSE: address already in use",
	EADDRNOTAVAIL: "EADDRNOTAVAIL: cannot assign requested address",
	ENOBUFS:       "ENOBUFS: no buffer space available",
	EISCONN:       "EISCONN: transport endpoint is already connected",
	ENOTCONN:      "ENOTCONN: transport endpoint is not connected",
	ETIMEDOUT:     "ETIMEDOUT: connection timed out",
	ECONNREFUSED:  "ECONNREFUSED: connection refused",
}

// Error returns the number's name and meaning.
func (e Errno) Error() string {
	if e > 0 && int(e) < len(errnoText) && errnoText[e] != "" {
		return errnoText[e]
	}
	return "errno " + strconv.FormatInt(int64(e), 10)
}

// Result is what a hypercall that ended with err returns in the guest's first
// register: 0 without error, a negated Errno, or -EINVAL for an error that has
// no number.
func Result(err error) int64 {
	if err == nil {
		return 0
	}
	if e, ok := err.(Errno); ok {
		return -int64(e)
	}
	if e := Errno(0); errors.As(err, &e) {
		return -int64(e)
	}
	return -int64(EINVAL)
}
