package control

import "context"

// Store is xenstore, as domain 0 sees it. A path begins with / or is below
// /local/domain/0. Errors: ErrNoNode, ErrBadArgument (a path or permission that
// is none), ErrTooBig, ErrQuota.
type Store interface {
	// XenstoreRead returns a node's value.
	XenstoreRead(ctx context.Context, path string) ([]byte, error)
	// XenstoreWrite sets it, and makes what is missing.
	XenstoreWrite(ctx context.Context, path string, value []byte) error
	// XenstoreList returns the names of the nodes right below, sorted.
	XenstoreList(ctx context.Context, path string) ([]string, error)
	// XenstoreRemove removes a node and all below. One that is missing is no
	// error if its parent is there.
	XenstoreRemove(ctx context.Context, path string) error
	// XenstorePerms returns a node's permissions, each a letter (n none,
	// r read, w write, b both) and a domain's number; the first names the owner
	// and what others may.
	XenstorePerms(ctx context.Context, path string) ([]string, error)
	// XenstoreSetPerms sets them.
	XenstoreSetPerms(ctx context.Context, path string, perms []string) error
	// XenstoreWatch opens a stream of the paths, at or below path, that change.
	// The first comes at once: path itself.
	XenstoreWatch(ctx context.Context, path string) (WatchStream, error)
}

// WatchStream delivers paths of nodes that changed. Several changes of one node
// that nobody took are one.
type WatchStream interface {
	// Next waits for a change, or the context's end.
	Next(ctx context.Context) (string, error)
	// Close ends the stream: from then on Next, also one that waits, returns
	// io.EOF.
	Close() error
}
