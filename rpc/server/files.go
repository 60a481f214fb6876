package server

import (
	"context"
	"errors"
	"io"

	"nidus/rpc/api"
	"nidus/rpc/control"
	"nidus/rpc/wire"
)

// maxUploads is how many files of one connection there may be at a time.
const maxUploads = 64

// files implements the service Files.
type files struct{ *session }

func (f files) Modules(ctx context.Context, _ *api.ModulesRequest) (*api.ModulesResponse, error) {
	all, err := list[api.Module](f.plane.Modules(ctx))
	return &api.ModulesResponse{Modules: all}, err
}

func (f files) Read(ctx context.Context, in *api.ReadFileRequest) (*api.ReadFileResponse, error) {
	b := make([]byte, min(in.Length, wire.MaxRead))
	n, err := f.plane.ReadModule(ctx, in.Name, b, in.Offset)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return &api.ReadFileResponse{Data: b[:n], Eof: err == io.EOF}, nil
}

func (f files) Upload(stream api.DRPCFiles_UploadStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	sum, err := fileSum(first.Size, first.Sha256)
	if err != nil {
		return err
	}
	if !f.begin() {
		return errUploads
	}
	r := &uploadReader{stream: stream, data: first.Data}
	name, err := f.plane.Upload(stream.Context(), first.Name, sum, io.LimitReader(r, first.Size))
	f.end(name, err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return control.Errorf(control.ErrBadArgument, "%s: less than the %d bytes that were announced", first.Name, first.Size)
	}
	if err != nil {
		return err
	}
	switch n, err := r.Read(make([]byte, 1)); {
	case n > 0:
		err = control.Errorf(control.ErrBadArgument, "%s: more than the %d bytes that were announced", first.Name, first.Size)
		fallthrough
	case err != io.EOF:
		_, discard := f.Discard(context.WithoutCancel(stream.Context()), &api.DiscardRequest{File: name})
		return errors.Join(err, discard)
	}
	return stream.SendAndClose(&api.UploadResponse{File: name})
}

var errUploads = control.Errorf(control.ErrQuota, "%d files of this connection are uploaded, as many as may be", maxUploads)

// fileSum is what a client says of a file: no hash is one of zeros.
func fileSum(size int64, hash []byte) (control.FileSum, error) {
	sum := control.FileSum{Size: size}
	if size < 0 {
		return sum, control.Errorf(control.ErrBadArgument, "a file of %d bytes", size)
	}
	if n := copy(sum.SHA256[:], hash); n != len(hash) || n != 0 && n != len(sum.SHA256) {
		return sum, control.Errorf(control.ErrBadArgument, "a SHA-256 of %d bytes; it has %d", len(hash), len(sum.SHA256))
	}
	return sum, nil
}

func (f files) FindUploaded(ctx context.Context, in *api.FindUploadedRequest) (*api.UploadResponse, error) {
	sum, err := fileSum(in.Size, in.Sha256)
	if err != nil {
		return nil, err
	}
	if !f.begin() {
		return nil, errUploads
	}
	name, err := f.plane.FindUploaded(ctx, sum)
	f.end(name, err)
	return &api.UploadResponse{File: name}, err
}

// begin counts an upload that begins; false: there are too many.
func (f files) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.uploading
	for _, times := range f.uploads {
		n += times
	}
	if n >= maxUploads {
		return false
	}
	f.uploading++
	return true
}

// end keeps the name of what was uploaded.
func (f files) end(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uploading--
	if err == nil {
		f.uploads[name]++
	}
}

// uploadReader reads the data of an upload's messages.
type uploadReader struct {
	stream api.DRPCFiles_UploadStream
	data   []byte
}

func (r *uploadReader) Read(b []byte) (int, error) {
	for len(r.data) == 0 {
		in, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.data = in.Data
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

// Discard implements the call, for files of this connection only: names are easy to
// guess.
func (f files) Discard(ctx context.Context, in *api.DiscardRequest) (*api.Done, error) {
	f.mu.Lock()
	times := f.uploads[in.File]
	if f.uploads[in.File]--; times <= 1 {
		delete(f.uploads, in.File)
	}
	f.mu.Unlock()
	if times == 0 {
		return nil, control.Errorf(control.ErrNoFile, "no file %q was uploaded on this connection", in.File)
	}
	return done(f.plane.Discard(ctx, in.File))
}
