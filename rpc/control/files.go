package control

import (
	"context"
	"io"
)

// Files moves files and logs.
type Files interface {
	// Log follows the hypervisor's log: what is kept first, if history is set,
	// then what comes. Close, or the context's end, ends it with io.EOF.
	Log(ctx context.Context, history bool) (io.ReadCloser, error)

	// Upload copies size bytes from r into a new file of the host, and returns
	// the name by which Create finds it. name, what the client calls it, is for
	// messages. The file stays until Discard. ErrTooBig, ErrNoMemory; io's
	// ErrUnexpectedEOF if r is shorter.
	Upload(ctx context.Context, name string, size int64, r io.Reader) (string, error)
	// Discard removes an uploaded file as soon as no domain, running or to be
	// restarted, was created from it. ErrNoFile.
	Discard(ctx context.Context, file string) error

	// Save writes a domain's state into a file of the host and, unless keep is
	// set, destroys the domain.
	Save(ctx context.Context, id DomID, file string, keep bool) error
	// Restore makes a domain from such a file.
	Restore(ctx context.Context, file string, opt CreateOptions) (DomID, error)
}
