package shell

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// File is a file beside xl, open for reading.
type File interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// uploads are local: files that the host has for a command, until discard or as long as
// a domain made from them does.
type uploads struct {
	*call
	names []string
}

func (u *uploads) discard(ctx context.Context) {
	for _, n := range u.names { // the connection's end does it too
		_ = u.Plane.Discard(context.WithoutCancel(ctx), n)
	}
}

// name returns what a file is called on the host: another name if it is a local: one,
// which the host has then.
func (u *uploads) name(ctx context.Context, file string) (string, error) {
	local, ok := strings.CutPrefix(file, control.LocalPrefix)
	if !ok {
		return file, nil
	}
	name, err := u.uploadFile(ctx, local)
	if err != nil {
		return "", err
	}
	u.names = append(u.names, name)
	return name, nil
}

// disk does the same with the target of an element of disk=.
func (u *uploads) disk(ctx context.Context, spec string) (string, error) {
	d, err := xlcfg.ParseDisk(spec)
	if err != nil || !strings.HasPrefix(d.Target, control.LocalPrefix) {
		return spec, err
	}
	name, err := u.name(ctx, d.Target)
	return strings.Replace(spec, d.Target, name, 1), err
}

// upload replaces a configuration's local: files by what they are called on the host,
// which has them until discard.
func (c *call) upload(ctx context.Context, cfg *xlcfg.DomainConfig) (discard func(), err error) {
	u := &uploads{call: c}
	discard = func() { u.discard(ctx) }
	for _, f := range []struct {
		key  string
		name *string
	}{{"kernel", &cfg.Kernel}, {"ramdisk", &cfg.Ramdisk}} {
		name, err := u.name(ctx, *f.name)
		if err != nil {
			discard()
			return nil, fmt.Errorf("%s = %q: %w", f.key, *f.name, err)
		}
		*f.name = name
	}
	modules := slices.Clone(cfg.Modules) // the caller's may be kept
	for i, text := range modules {
		file, cmdline := control.SplitModule(text)
		name, err := u.name(ctx, file)
		if err != nil {
			discard()
			return nil, fmt.Errorf("ramdisk = %q: %w", file, err)
		}
		modules[i] = strings.TrimSpace(name + " " + cmdline)
	}
	cfg.Modules = modules
	disks := slices.Clone(cfg.Disks)
	for i := range disks {
		if disks[i], err = u.disk(ctx, disks[i]); err != nil {
			discard()
			return nil, fmt.Errorf("disk = %q: %w", cfg.Disks[i], err)
		}
	}
	cfg.Disks = disks
	return discard, nil
}

// uploadFile uploads one file, unless the host has its like.
func (c *call) uploadFile(ctx context.Context, name string) (string, error) {
	if c.Open == nil {
		return "", control.Errorf(control.ErrNoFile, "local: is for an xl on another machine, which has files of its own; here, name a boot module (\"modules\" lists them)")
	}
	f, err := c.Open(name)
	if err != nil {
		return "", control.Errorf(control.ErrNoFile, "%v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", control.Errorf(control.ErrNoFile, "%s is no regular file", name)
	}
	b := c.progress("Uploading " + filepath.Base(name))
	defer b.stop()
	r := &reading{r: f, b: b, at: control.Progress{Step: "looking", Total: uint64(st.Size())}}
	h := sha256.New()
	sum := control.FileSum{}
	if sum.Size, err = io.Copy(h, contextReader{ctx, r}); err != nil {
		return "", err
	}
	h.Sum(sum.SHA256[:0])
	there, err := c.Plane.FindUploaded(ctx, sum)
	if !errors.Is(err, control.ErrNoFile) {
		return there, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	r.at = control.Progress{Total: uint64(sum.Size)}
	there, err = c.Plane.Upload(ctx, name, sum, r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = control.Errorf(control.ErrBadArgument, "%s became shorter while it was uploaded; try again", name)
	}
	return there, err
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
