package plane

import (
	"context"
	"io"

	"nidus/kernel/console"
	"nidus/rpc/control"
)

// logReader follows the hypervisor's log.
type logReader struct {
	r      *console.Reader
	ctx    context.Context
	cancel context.CancelFunc
}

// Log implements control.Plane.
func (p *Plane) Log(ctx context.Context, history bool) (io.ReadCloser, error) {
	l := &logReader{}
	if l.r = p.log.AttachLive(); history {
		l.r = p.log.Attach()
	}
	l.ctx, l.cancel = p.bound(ctx)
	return l, nil
}

// Read implements io.Reader.
func (l *logReader) Read(b []byte) (int, error) {
	n, err := l.r.Read(l.ctx, b)
	if err != nil && l.ctx.Err() != nil {
		return n, io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (l *logReader) Close() error {
	l.cancel()
	return nil
}

// Upload implements control.Plane. What is uploaded outlives the control plane, as the
// domains do that are made from it.
func (p *Plane) Upload(ctx context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	return p.core.Upload(ctx, name, sum, r)
}

// FindUploaded implements control.Plane.
func (p *Plane) FindUploaded(_ context.Context, sum control.FileSum) (string, error) {
	return p.core.FindUploaded(sum)
}

// Discard implements control.Plane.
func (p *Plane) Discard(_ context.Context, file string) error { return p.core.Discard(file) }
