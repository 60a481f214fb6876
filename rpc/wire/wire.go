// Package wire is what rpc/server and rpc/client have in common: how a connection is
// divided into calls, how values of rpc/control become messages of rpc/api and back,
// and how errors travel.
//
// A connection (a Unix-domain socket, a ring in shared memory, TLS) carries an smux
// session, version 2: streams with a window each, so that a call that is stuck holds
// up no other. Each smux stream carries drpc, one call at a time, and is used again
// for the next. Closing a stream, or the connection, cancels the call in it.
package wire

import (
	"bufio"
	"context"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/xtaci/smux"
	"storj.io/drpc/drpcmetadata"
)

// Limits that both sides know.
const (
	// MaxCalls is how many calls of one connection may be in flight.
	MaxCalls = 32
	// MaxRequest is the longest message that a server takes, MaxResponse a client,
	// in bytes.
	MaxRequest  = 256 << 10
	MaxResponse = 4 << 20
	// Chunk is the most data in one message of a stream, in bytes.
	Chunk = 32 << 10
	// MaxDmesg is the most of the log in one answer, in bytes.
	MaxDmesg = 3 << 20
	// MaxRead is the most of a file in one answer, in bytes.
	MaxRead = 1 << 20
	// MaxCredit is how much output of a console may be outstanding, in bytes.
	MaxCredit = 1 << 20
)

// window is smux's initial window, in bytes; it can't be less.
const window = 256 << 10

// Mux is how a connection is divided into streams.
func Mux() *smux.Config {
	c := smux.DefaultConfig()
	c.Version = 2
	c.MaxStreamBuffer = window
	c.MaxReceiveBuffer = MaxCalls * window // streams that nobody reads don't stop the others
	return c
}

// timeout is the metadata of a call that has a deadline: how long from now, in
// nanoseconds, for clocks differ.
const timeout = "timeout-ns"

// WithTimeout puts ctx's deadline, if it has one, into a call's metadata.
func WithTimeout(ctx context.Context) context.Context {
	end, ok := ctx.Deadline()
	if !ok {
		return ctx
	}
	left := max(time.Until(end), 0)
	return drpcmetadata.Add(ctx, timeout, strconv.FormatInt(int64(left), 10))
}

// Timeout makes the deadline in a call's metadata, if there is a sensible one, that
// of the context.
func Timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	md, _ := drpcmetadata.Get(ctx)
	if ns, err := strconv.ParseInt(md[timeout], 10, 64); err == nil && ns >= 0 {
		return context.WithTimeout(ctx, time.Duration(ns))
	}
	return context.WithCancel(ctx)
}

// Buffered reads a connection in large pieces: smux reads its headers one by one.
func Buffered(c net.Conn) io.ReadWriteCloser {
	return &buffered{Conn: c, r: bufio.NewReaderSize(c, Chunk)}
}

type buffered struct {
	net.Conn
	r *bufio.Reader
}

// Read implements net.Conn.
func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
