package control

import (
	"context"
	"crypto/sha256"
	"io"
)

// Files moves files and logs.
type Files interface {
	// Log follows the hypervisor's log: what is kept first, if history is set,
	// then what comes. Close, or the context's end, ends it with io.EOF.
	Log(ctx context.Context, history bool) (io.ReadCloser, error)

	// Upload copies sum.Size bytes from r into a file of the host, and returns
	// the name by which Create finds it. name, what the client calls it, is for
	// messages. The file stays until Discard. ErrQuota, ErrTooBig, ErrNoMemory;
	// ErrBadArgument if the contents have another hash; io's ErrUnexpectedEOF if
	// r is shorter.
	Upload(ctx context.Context, name string, sum FileSum, r io.Reader) (string, error)
	// FindUploaded is Upload of a file that the host has already, by whomever.
	// ErrNoFile if it has not.
	FindUploaded(ctx context.Context, sum FileSum) (string, error)
	// Discard takes one Upload or FindUploaded back. The file goes as soon as
	// that holds for all, and no domain, running or to be restarted, was created
	// from it. ErrNoFile.
	Discard(ctx context.Context, file string) error

	// Save writes a domain's state into a file of the host and, unless keep is
	// set, destroys the domain.
	Save(ctx context.Context, id DomID, file string, keep bool) error
	// Restore makes a domain from such a file.
	Restore(ctx context.Context, file string, opt CreateOptions) (DomID, error)
}

// FileSum tells files apart by their contents.
type FileSum struct {
	Size   int64 // bytes
	SHA256 [sha256.Size]byte
}

// UploadPrefix is what the names of uploaded files begin with.
const UploadPrefix = "upload:"

// DataPrefix is what the names of files on the host's data partition begin with.
const DataPrefix = "/data/"

// LocalPrefix is what a client puts before the name of a file of its own: it uploads
// it, and no host ever sees such a name.
const LocalPrefix = "local:"
