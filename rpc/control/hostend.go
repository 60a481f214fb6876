package control

import (
	"context"
	"time"
)

// HostEndOptions says how the host ends its domains before it ends itself.
type HostEndOptions struct {
	// Limit is how long each domain may take from when it is asked to power off; 0 is
	// what the host was booted with (xendomains_stop_maxwait=).
	Limit time.Duration
	// Force asks no domain: all are destroyed at once.
	Force bool
}

// Bounds of HostEndOptions.Limit, and what it is unless somebody says otherwise.
const (
	DefaultStopLimit = time.Minute
	MinStopLimit     = time.Second
	MaxStopLimit     = 24 * time.Hour
)

// Check returns ErrBadArgument if o is out of bounds.
func (o HostEndOptions) Check() error {
	if o.Limit != 0 && (o.Limit < MinStopLimit || o.Limit > MaxStopLimit) {
		return Errorf(ErrBadArgument, "a domain can have %v to %v to power off, not %v; -F destroys all at once", MinStopLimit, MaxStopLimit, o.Limit)
	}
	return nil
}

// HostEndKind is a step of the host's end.
type HostEndKind uint8

// The steps. All but the first and the last are of a domain.
const (
	HostEndBegun     HostEndKind = iota + 1
	HostEndAsked                 // it was asked to power off, or will be once it listens
	HostEndStopped               // it has shut down
	HostEndDestroyed             // it was destroyed; Text says why
	HostEndNow                   // no domain is left: the host ends now, and says nothing more
)

// HostEndStep is something that happened on the way to the host's end.
type HostEndStep struct {
	Kind HostEndKind
	ID   DomID
	Name string
	// Text says it to a person, in a line.
	Text string
}

// HostEndStream tells the steps of the host's end from its beginning, HostEndNow last.
// It fails if the host can't end: then it goes on without domains. Closing it does not
// stop the host's end.
type HostEndStream interface {
	// Next waits for a step, or the context's end.
	Next(ctx context.Context) (HostEndStep, error)
	// Close ends the stream: from then on Next returns io.EOF.
	Close() error
}
