package wire

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"storj.io/drpc/drpcerr"

	"nidus/rpc/api"
	"nidus/rpc/control"
)

// maxMessage bounds an error's text, in bytes.
const maxMessage = 8 << 10

// failure is an error on its way: drpc sends its Code and its text, which is a message
// of type Error.
type failure struct {
	code uint64
	text string
}

func (f failure) Error() string { return f.text }
func (f failure) Code() uint64  { return f.code }

// EncodeError makes err, of a control.Plane, one that drpc carries.
func EncodeError(err error) error {
	if err == nil {
		return nil
	}
	e := &api.Error{Code: api.ErrorCode(control.CodeOf(err)), Message: err.Error()}
	switch {
	case errors.Is(err, context.Canceled):
		e.Code = api.ErrorCode_ERROR_CANCELED
	case errors.Is(err, context.DeadlineExceeded):
		e.Code = api.ErrorCode_ERROR_DEADLINE
	}
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage] + "..."
	}
	var c *control.Error
	if errors.As(err, &c) {
		e.File, e.Line = c.File, uint32(max(c.Line, 0))
	}
	text, err := proto.Marshal(e)
	if err != nil { // no message of ours can make it fail
		text = nil
	}
	return failure{uint64(e.Code), string(text)}
}

// DecodeError is EncodeError's inverse on the client. What is no such error comes of
// the connection, or of ctx, the call's. One that is decoded stays as it is.
func DecodeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var c *control.Error
	if errors.As(err, &c) {
		return err
	}
	code := drpcerr.Code(err)
	if code == 0 {
		return control.Errorf(control.ErrDisconnected, "the connection to the control plane has ended (%v); whether the call was done is not known", err)
	}
	var e api.Error
	// drpc puts nothing before the text of an error that has a code.
	if proto.Unmarshal([]byte(err.Error()), &e) != nil || uint64(e.Code) != code {
		return control.Errorf(control.ErrInternal, "the server's error can't be read: code %d, %q", code, err)
	}
	switch {
	case e.Code == api.ErrorCode_ERROR_CANCELED:
		return fmt.Errorf("the server ended the call: %s: %w", e.Message, context.Canceled)
	case e.Code == api.ErrorCode_ERROR_DEADLINE:
		return fmt.Errorf("the server ended the call: %s: %w", e.Message, context.DeadlineExceeded)
	case e.Code <= 0 || e.Code > 0xffff:
		e.Code = api.ErrorCode_ERROR_INTERNAL
	}
	return &control.Error{Code: control.Code(e.Code), Msg: e.Message, File: e.File, Line: int(e.Line)}
}
