package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"nidus/kernel/console"
	"nidus/mm"
	"nidus/rpc/control"
)

// Limits of the files that clients uploaded, of all clients together.
const (
	// maxFiles bounds their number.
	maxFiles = 64
	// uploadPart: they have at most this part of the machine's memory.
	uploadPart = 4
	// fileReserve is what files leave of the free memory to the host itself.
	fileReserve = 32 << 20
)

// files are those that clients uploaded. One stays while somebody holds it: a client,
// once for each time it uploaded or found it, and the domains that it is a part of,
// running or to be restarted.
type files struct {
	mu    sync.Mutex
	all   []*upload
	count int   // of all, and of those that are on their way
	bytes int64 // theirs
}

// upload is a file that is there whole.
type upload struct {
	Module
	sum   control.FileSum
	holds int
}

// fileName is the name of an uploaded file: its contents' hash, so that no name ever
// stands for other contents, and what its client calls it.
func fileName(name string, sum control.FileSum) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	name = name[:min(len(name), 64)]
	plain := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`\"',`, r) {
			return '_'
		}
		return r
	}, name)
	return control.UploadPrefix + hex.EncodeToString(sum.SHA256[:16]) + "/" + plain
}

// find returns the first file that fits. f.mu is held.
func (f *files) find(fits func(*upload) bool) *upload {
	if i := slices.IndexFunc(f.all, fits); i >= 0 {
		return f.all[i]
	}
	return nil
}

func (f *files) named(name string) *upload {
	return f.find(func(u *upload) bool { return u.Name == name })
}

func (f *files) like(sum control.FileSum) *upload {
	return f.find(func(u *upload) bool { return u.sum == sum })
}

// drop lets go of a file once, and returns whether it is gone. f.mu is held.
func (f *files) drop(u *upload) (gone bool) {
	if u.holds--; u.holds > 0 {
		return false
	}
	f.all = slices.DeleteFunc(f.all, func(o *upload) bool { return o == u })
	f.count--
	f.bytes -= u.sum.Size
	return true
}

// FindUploaded implements control.Files.
func (c *Core) FindUploaded(sum control.FileSum) (string, error) {
	f := &c.files
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.like(sum)
	if u == nil {
		return "", control.Errorf(control.ErrNoFile, "no such file of %d bytes was uploaded", sum.Size)
	}
	u.holds++
	return u.Name, nil
}

// Upload implements control.Files.
func (c *Core) Upload(ctx context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	f := &c.files
	if err := c.room(name, sum.Size); err != nil {
		return "", err
	}
	data, hash, err := readHashed(ctx, sum.Size, r)
	if sum.SHA256 != [sha256.Size]byte{} && err == nil && hash != sum.SHA256 {
		err = control.Errorf(control.ErrBadArgument, "%s: what came is not what was announced (its SHA-256 is another): did it change meanwhile? Try again", name)
	}
	sum.SHA256 = hash
	f.mu.Lock()
	u := f.like(sum)
	if err != nil || u != nil { // or two have uploaded it at a time
		f.count--
		f.bytes -= sum.Size
	}
	switch {
	case err != nil:
	case u != nil:
		u.holds++
	default:
		u = &upload{Module{Name: fileName(name, sum), Data: data}, sum, 1}
		f.all = append(f.all, u)
	}
	f.mu.Unlock()
	c.filesChanged()
	if err != nil {
		c.trim()
		return "", err
	}
	c.Host.Log.Printf(console.LevelInfo, "file %s uploaded: %d bytes", u.Name, sum.Size)
	return u.Name, nil
}

// room takes the quota for a file.
func (c *Core) room(name string, size int64) error {
	stats := c.Host.Memory.Stats()
	free := c.unpromised()
	if size > 0 && uint64(size)+fileReserve > free && uint64(size) < stats.Total*mm.PageSize {
		debug.FreeOSMemory()
		free = c.unpromised()
	}
	f := &c.files
	f.mu.Lock()
	defer f.mu.Unlock()
	most := int64(stats.Total * mm.PageSize / uploadPart)
	switch {
	case size < 0:
		return control.Errorf(control.ErrBadArgument, "%s: a file of %d bytes", name, size)
	case f.count >= maxFiles:
		return control.Errorf(control.ErrQuota, "%s: %d files are uploaded, as many as may be; end domains that were created from some", name, f.count)
	case size > most-f.bytes:
		return control.Errorf(control.ErrTooBig, "%s has %d KiB; uploaded files may have %d MiB in all, and have %d: end domains that were created from some, or let the boot loader bring the file", name, size>>10, most>>20, f.bytes>>20)
	case uint64(size)+fileReserve > free:
		return control.Errorf(control.ErrNoMemory, "%s needs %d KiB, and %d MiB are free, of which the host keeps %d", name, size>>10, free>>20, fileReserve>>20)
	}
	f.count++
	f.bytes += size
	return nil
}

// readHashed reads size bytes, and their hash.
func readHashed(ctx context.Context, size int64, r io.Reader) (data []byte, hash [sha256.Size]byte, err error) {
	const piece = 64 << 10 // between looks at ctx; the hash of more is long uninterruptible
	data = make([]byte, size)
	h := sha256.New()
	for left := data; len(left) > 0; {
		b := left[:min(len(left), piece)]
		left = left[len(b):]
		if _, err = io.ReadFull(r, b); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, hash, err
		}
		h.Write(b)
	}
	h.Sum(hash[:0])
	return data, hash, nil
}

// Discard implements control.Files.
func (c *Core) Discard(name string) error {
	c.files.mu.Lock()
	u := c.files.named(name)
	gone := u != nil && c.files.drop(u)
	c.files.mu.Unlock()
	if u == nil {
		return control.Errorf(control.ErrNoFile, "no file %q was uploaded", name)
	}
	if gone {
		c.filesGone()
	}
	return nil
}

func (c *Core) filesGone() {
	c.filesChanged()
	c.trim()
}

func (c *Core) filesChanged() {
	if c.FilesChanged == nil {
		return
	}
	c.files.mu.Lock()
	defer c.files.mu.Unlock() // so that the last one told is right
	c.FilesChanged(c.files.bytes)
}

// Hold keeps the uploaded files of a configuration until release, which may be called
// more than once.
func (c *Core) Hold(cfg *control.DomainConfig) (release func(), err error) {
	names := []string{cfg.Kernel, cfg.Ramdisk}
	for _, text := range cfg.Modules {
		name, _ := control.SplitModule(text)
		names = append(names, name)
	}
	for _, text := range cfg.Disks {
		s, err := c.parseDisk(text)
		if err != nil {
			return nil, err
		}
		names = append(names, s.Target)
	}
	return c.hold(names...)
}

// hold keeps those of the files that were uploaded.
func (c *Core) hold(names ...string) (release func(), err error) {
	f := &c.files
	f.mu.Lock()
	defer f.mu.Unlock()
	var held []*upload
	for _, name := range names {
		if !strings.HasPrefix(name, control.UploadPrefix) {
			continue
		}
		u := f.named(name)
		if u == nil {
			for _, u := range held {
				f.drop(u) // never the last: they were there
			}
			return nil, noUpload(name)
		}
		u.holds++
		held = append(held, u)
	}
	if held == nil {
		return func() {}, nil
	}
	return sync.OnceFunc(func() {
		gone := false
		f.mu.Lock()
		for _, u := range held {
			gone = f.drop(u) || gone
		}
		held = nil
		f.mu.Unlock()
		if gone {
			c.filesGone()
		}
	}), nil
}

func noUpload(name string) error {
	return control.Errorf(control.ErrNoFile, "the uploaded file %q is not there, or not any more; upload it again", name)
}

// uploaded returns an uploaded file as a module.
func (c *Core) uploaded(name string) (*Module, error) {
	c.files.mu.Lock()
	defer c.files.mu.Unlock()
	if u := c.files.named(name); u != nil {
		return &u.Module, nil
	}
	return nil, noUpload(name)
}
