package xenstore

import "encoding/binary"

// MsgType is a message's kind (xs_wire.h, enum xsd_sockmsg_type).
type MsgType uint32

// The message types (xs_wire.h, XS_*).
const (
	MsgControl MsgType = iota
	MsgDirectory
	MsgRead
	MsgGetPerms
	MsgWatch
	MsgUnwatch
	MsgTransactionStart
	MsgTransactionEnd
	MsgIntroduce
	MsgRelease
	MsgGetDomainPath
	MsgWrite
	MsgMkdir
	MsgRm
	MsgSetPerms
	MsgWatchEvent
	MsgError
	MsgIsDomainIntroduced
	MsgResume
	MsgSetTarget
	_ // XS_RESTRICT, removed
	MsgResetWatches
	MsgDirectoryPart
)

// Sizes and limits of the protocol, in bytes (xs_wire.h).
const (
	HeaderSize = 16   // struct xsd_sockmsg
	PayloadMax = 4096 // XENSTORE_PAYLOAD_MAX
	AbsPathMax = 3072 // XENSTORE_ABS_PATH_MAX
	RelPathMax = 2048 // XENSTORE_REL_PATH_MAX

	// tokenMax leaves room for the longest path beside the token in one
	// watch event.
	tokenMax = PayloadMax - AbsPathMax - 2
)

// Header stands in front of each message (xs_wire.h, struct xsd_sockmsg).
type Header struct {
	Type  MsgType
	ReqID uint32 // echoed in the reply
	TxID  uint32 // 0: in no transaction
	Len   uint32 // of the payload that follows, bytes
}

// DecodeHeader reads a header. b holds at least HeaderSize bytes.
func DecodeHeader(b []byte) Header {
	return Header{
		Type:  MsgType(binary.LittleEndian.Uint32(b[0:])),
		ReqID: binary.LittleEndian.Uint32(b[4:]),
		TxID:  binary.LittleEndian.Uint32(b[8:]),
		Len:   binary.LittleEndian.Uint32(b[12:]),
	}
}

// Append appends the header's wire form to b.
func (h Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Type))
	b = binary.LittleEndian.AppendUint32(b, h.ReqID)
	b = binary.LittleEndian.AppendUint32(b, h.TxID)
	return binary.LittleEndian.AppendUint32(b, h.Len)
}

// Errno is an error of the protocol, which sends it by name. The zero Errno is
// success and never returned as an error.
type Errno uint8

// The errors that the protocol knows (xs_wire.h, xsd_errors). An exceeded quota
// is ENOSPC: the table has no EQUOTA, and guests read an unknown name as EINVAL.
const (
	EINVAL Errno = iota + 1
	EACCES
	EEXIST
	EISDIR
	ENOENT
	ENOMEM
	ENOSPC
	EIO
	ENOTEMPTY
	ENOSYS
	EROFS
	EBUSY
	EAGAIN
	EISCONN
	E2BIG
	EPERM
)

var errnoNames = [...]string{
	0: "OK", EINVAL: "EINVAL", EACCES: "EACCES", EEXIST: "EEXIST",
	EISDIR: "EISDIR", ENOENT: "ENOENT", ENOMEM: "ENOMEM", ENOSPC: "ENOSPC",
	EIO: "EIO", ENOTEMPTY: "ENOTEMPTY", ENOSYS: "ENOSYS", EROFS: "EROFS",
	EBUSY: "EBUSY", EAGAIN: "EAGAIN", EISCONN: "EISCONN", E2BIG: "E2BIG",
	EPERM: "EPERM",
}

// Error returns the name, as the wire carries it.
func (e Errno) Error() string {
	if int(e) < len(errnoNames) {
		return errnoNames[e]
	}
	return "EIO"
}
