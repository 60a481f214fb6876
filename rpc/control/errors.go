package control

import (
	"errors"
	"fmt"
)

// Code is the kind of an error: what callers decide on, and what a wire
// carries beside the message. A Code is itself an error, so that
// errors.Is(err, ErrNoDomain) works.
type Code uint16

// The kinds of errors. The numbers are part of the contract: append only.
const (
	// ErrNoDomain: no domain has that number or name.
	ErrNoDomain Code = iota + 1
	// ErrExists: the name or uuid is taken.
	ErrExists
	// ErrNoMemory: less memory is free than asked for.
	ErrNoMemory
	// ErrBadConfig: the configuration contradicts itself or the machine.
	ErrBadConfig
	// ErrBadKernel: the kernel or ramdisk is not one, or doesn't fit.
	ErrBadKernel
	// ErrNoFile: no module or file has that name.
	ErrNoFile
	// ErrBadArgument: an argument is out of range or senseless.
	ErrBadArgument
	// ErrBadState: the domain can't do that in its state.
	ErrBadState
	// ErrNoResponse: the guest doesn't react to requests.
	ErrNoResponse
	// ErrBusy: someone else holds it.
	ErrBusy
	// ErrTooBig: more than a limit.
	ErrTooBig
	// ErrDenied: the caller may not do that.
	ErrDenied
	// ErrNotYet: known, but this version doesn't have it.
	ErrNotYet
	// ErrInternal: a defect of the control plane.
	ErrInternal
	// ErrNoNode: xenstore has no such node.
	ErrNoNode
	// ErrNoDevice: the domain has no such device.
	ErrNoDevice
	// ErrQuota: as many as allowed are there already.
	ErrQuota
	// ErrVersion: client and server don't speak the same protocol.
	ErrVersion
	// ErrDisconnected: the connection ended before the answer came, or can't
	// be made. Whether the call was done is not known then.
	ErrDisconnected
	// ErrNoClient: no client of the network has that name.
	ErrNoClient
	endCodes
)

var codeNames = [...]string{
	ErrNoDomain:     "no such domain",
	ErrExists:       "exists already",
	ErrNoMemory:     "not enough memory",
	ErrBadConfig:    "bad configuration",
	ErrBadKernel:    "bad kernel or ramdisk",
	ErrNoFile:       "no such file",
	ErrBadArgument:  "bad argument",
	ErrBadState:     "not possible in this state",
	ErrNoResponse:   "the guest does not respond",
	ErrBusy:         "in use",
	ErrTooBig:       "too big",
	ErrDenied:       "not allowed",
	ErrNotYet:       "not there yet",
	ErrInternal:     "internal error",
	ErrNoNode:       "no such node",
	ErrNoDevice:     "no such device",
	ErrQuota:        "too many",
	ErrVersion:      "another version of the protocol",
	ErrDisconnected: "disconnected",
	ErrNoClient:     "no such client",
}

// Error says what kind c is.
func (c Code) Error() string {
	if c > 0 && c < endCodes {
		return codeNames[c]
	}
	return fmt.Sprintf("error %d", uint16(c))
}

// Error is an error of a certain kind with a message for a person.
type Error struct {
	Code Code
	// Msg says what happened, where, and what to do; it includes the kind.
	Msg string
	// File and Line (from 1) are the place of a defect in a configuration, if
	// there is one; Msg names it too.
	File string
	Line int
}

// Error returns the message.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the kind, for errors.Is.
func (e *Error) Unwrap() error { return e.Code }

// Errorf makes an Error; the format is fmt.Sprintf's.
func Errorf(c Code, format string, args ...any) error {
	return &Error{Code: c, Msg: fmt.Sprintf(format, args...)}
}

// CodeOf returns an error's kind: ErrInternal if it has none, 0 for nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return ErrInternal
}
